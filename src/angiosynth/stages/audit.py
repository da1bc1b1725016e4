"""Stage audit: privacy attacks on one generator, its synthetic set, and its critic if it has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from angiosynth.arrays import LabelPatches
from angiosynth.compute.precision import device
from angiosynth.compute.threads import use_threads
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import Split
from angiosynth.errors import InputError
from angiosynth.generators.base import PROMISE, Sampler
from angiosynth.generators.registry import CONTROL, family_of
from angiosynth.generators.storage import generator_digest, load_critic, load_sampler
from angiosynth.generators.synthesis import labelled_by_unet
from angiosynth.privacy.audit import Audit
from angiosynth.privacy.audited import AuditData, AuditInputs, sampled
from angiosynth.privacy.power import audit_power
from angiosynth.privacy.references import References
from angiosynth.privacy.shared import shared_audit
from angiosynth.privacy.verdict import judge
from angiosynth.project.preflight import preflight
from angiosynth.project.resuming import references_digest
from angiosynth.project.workspace import Workspace, data_digest, data_source
from angiosynth.reading import MOST_PICTURE, read_bytes
from angiosynth.report.audit_figures import attacks_figure, patient_scores_figure
from angiosynth.report.audit_page import build_audit_page
from angiosynth.report.gallery import gallery
from angiosynth.runtime.output import read_json, scratch_folder, whole_folder, write_json
from angiosynth.sections import Count, NonNegative
from angiosynth.settings import Settings, digest
from angiosynth.settings.audit import AUDIT_FILES
from angiosynth.stages.audit_references import SCRATCH, load_real, split_for_audit
from angiosynth.tracking.runs import RunSpec, training_run

SHARED = "shared"  # subfolder of an audit with the files for releases and tracking servers


def audit(settings: Settings, home: Workspace, model: str) -> None:
    """Audit one generator as an MLflow run.

    Exact numbers, their page and figures, and the gallery of the closest pairs are confidential and written to audit/<model>. Rounded
    numbers and a page that may be released are written to audit/<model>/shared.
    """
    use_threads(settings.threads)
    preflight(settings, home, (f"generators.{model}",))  # the audit trains a control generator
    split = split_for_audit(settings, home)
    data = data_source(home.synthetic(model))
    tracked = {"model": model, "audit": settings.audit}
    with training_run(RunSpec("evaluation", f"audit {model}", stage=f"audit@{model}", settings=tracked, data=data)) as run:
        # Patches of patients stay inside the project and are deleted after the stage.
        with scratch_folder(home.root / ".work" / SCRATCH) as folder, whole_folder(home.audit(model)) as target:
            results = _audit(settings, home, model, split, folder, target)
            write_json(target / "audit.json", results)
            patient_scores_figure(results, target / "scores.png")
            (target / "index.html").write_text(build_audit_page(results, read_bytes(target / "scores.png", MOST_PICTURE)), encoding="utf-8")
            shared = shared_audit(results)
            write_shared(shared, target / SHARED)
        # The tracking server may be on another machine, so it receives only rounded numbers.
        run.final({finding["name"]: finding["value"] for finding in shared["findings"]})
        run.tag("verdict_set", results["verdicts"]["set"])
        for name in AUDIT_FILES:
            run.artifact(home.audit(model) / SHARED / name)


def write_shared(shared: Mapping[str, Any], folder: Path) -> None:
    """Write the fields of an audit that may be released as audit.json, and a page with a figure of these fields."""
    folder.mkdir()
    numbers, page = AUDIT_FILES
    write_json(folder / numbers, shared)
    picture = folder / "attacks.png"
    attacks_figure(shared, picture)
    (folder / page).write_text(build_audit_page(shared, read_bytes(picture, MOST_PICTURE)), encoding="utf-8")
    picture.unlink()  # it is embedded in the page


def audit_digest(settings: Settings) -> str:
    """Return the digest of the audit's settings and limits."""
    return digest(settings.audit)


def _audit(settings: Settings, home: Workspace, model: str, split: Split, scratch: Path, target: Path) -> dict[str, Any]:
    """Run all attacks and controls, write the gallery into `target`, and return the content of audit.json."""
    # If the results of stage audit-references are missing or outdated, the audit computes them itself.
    references = References.load(home.audit_references, references_digest(settings, home, split))
    data = AuditData(load_audited(settings, home, model, split, scratch), references)
    work = Audit(data, settings.audit)
    numbers = work.measured(f"audit {model}")
    gallery(work.copies, target / "gallery.png")
    description = {
        "model": model,
        "set_digest": data_digest(home.synthetic(model)),
        "generator_digest": generator_digest(home.generator(model)),
        "audit_digest": audit_digest(settings),
        "n_synthetic": len(data.inputs.synthetic.image),
        "n_audited": len(data.inputs.synthetic),
        "n_training_patches": len(data.inputs.training),
        "patch_size": data.inputs.synthetic.size,
        "patients": people_of(data, split),
        "limits": settings.audit.limits.model_dump(mode="json"),
        "settings": settings.audit.model_dump(mode="json", exclude={"limits"}),
    }
    description |= {key: value for key, value in data.inputs.synthetic.meta.items() if key == PROMISE}
    judged = judge(numbers, settings.audit.limits)
    level = settings.audit.limits.alpha / len(judged["findings"])  # level of the first measure in the Holm correction
    return {**description, **numbers, **judged, "power": audit_power(len(data.members), len(data.others), level)}


def people_of(data: AuditData, split: Split) -> dict[str, int]:
    """Return the numbers of people by their use in the split; for held-out people also the number of labelled ones."""
    unlabelled = len(np.unique(data.unlabelled_number))
    numbers = {"training": len(split.train), "validation": len(split.validation), "test": len(split.test)}
    return {**numbers, "held_out": len(split.held_out), "held_out_labelled": len(split.held_out) - unlabelled}


def load_audited(settings: Settings, home: Workspace, model: str, split: Split, scratch: Path) -> AuditInputs:
    """Load the inputs of an audit. Patches of people outside the training set are cut into `scratch`."""
    generator, folder = settings.generator(model), home.generator(model)
    shape = {"width": generator.width} | settings.generator_defaults
    real = load_real(settings, home, split, scratch, CONTROL(shape, settings.audit.overfit_steps, settings.audit.seed))
    chosen, size = _chosen(folder / "generator.json"), real.training.size
    sampler = load_sampler(folder, generator, size, device())
    synthetic = sampled(_synthetic(home, model, real.training), settings.audit.most_patches)
    return AuditInputs(
        **vars(real),
        synthetic=synthetic,
        latent_space=family_of(generator).latent_space(sampler),
        critic=load_critic(folder, generator, size),
        step=chosen.step,
        probes=chosen.probes,
        at_step=lambda step: load_sampler(folder, generator, size, device(), step),
        drawn_label=_drawn_label(sampler, synthetic) if settings.audit.drawn_labels and labelled_by_unet(synthetic.meta) else None,
    )


def _drawn_label(sampler: Sampler, synthetic: PatchSet) -> LabelPatches:
    """Draw the set's pairs again, and return the labels of its selected rows: those that the generator itself draws."""
    card = synthetic.meta
    _, label = sampler.pairs(len(synthetic.image), int(card["seed"]), card["label_threshold"])
    return label[synthetic.rows]


class _Chosen(BaseModel):
    """Fields of generator.json that the audit needs: the selected step, and the scores and step of each probe."""

    model_config = ConfigDict(frozen=True)

    step: Count
    probes: tuple[dict[str, NonNegative], ...] = ()


def _chosen(path: Path) -> _Chosen:
    try:
        chosen = _Chosen.model_validate(read_json(path))
    except ValidationError as error:
        raise InputError(f"{path}: damaged, {error.errors()[0]['msg']}; run `dvc repro` to train it") from error
    if not all("step" in probe for probe in chosen.probes):
        raise InputError(f"{path}: damaged, a probe without a step; run `dvc repro` to train it")
    return chosen


def _synthetic(home: Workspace, model: str, training: PatchSet) -> PatchSet:
    synthetic = open_patch_set(home.synthetic(model))
    if synthetic.size != training.size:
        raise InputError(f"{synthetic.folder}: patches of {synthetic.size}, the real ones are of {training.size}; run `dvc repro`")
    return synthetic
