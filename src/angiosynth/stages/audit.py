"""Stage audit: what one generator's set, the generator and its critic tell about the patients behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from angiosynth.compute.precision import device
from angiosynth.data.cohort import Split, load_split
from angiosynth.data.patches import PatchSet, build_patches, open_patch_set
from angiosynth.errors import InputError
from angiosynth.generators.registry import CONTROL, family_of
from angiosynth.generators.storage import load_critic, load_sampler
from angiosynth.metrics.frechet import frechet_distance
from angiosynth.privacy.audit import Audit
from angiosynth.privacy.audited import AuditData, AuditInputs
from angiosynth.privacy.planted_leaks import attack_overfitted_generator, attack_planted_copies
from angiosynth.privacy.shared import shared_audit
from angiosynth.privacy.verdict import judge
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace, data_digest, data_source
from angiosynth.reading import MOST_PICTURE, read_bytes
from angiosynth.report.audit_figures import attacks_figure, gallery, patient_scores_figure
from angiosynth.report.audit_page import build_audit_page
from angiosynth.runtime.output import read_json, scratch_folder, whole_folder, write_json
from angiosynth.runtime.progress import progress
from angiosynth.sections import Count, NonNegative
from angiosynth.segmentation.features import unet_features
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.settings import Settings, digest
from angiosynth.settings.audit import AUDIT_FILES
from angiosynth.tracking.runs import training_run

SHARED = "shared"  # below an audit's folder: what of it may leave, for a release and for a tracking server


def audit(settings: Settings, home: Workspace, model: str) -> None:
    """Audit one generator as an MLflow run.

    Exact numbers, their page and figures, and the gallery of the closest pairs go to audit/<model>, for the house alone; what of them may
    leave goes to audit/<model>/shared.
    """
    preflight(settings, home, (f"generators.{model}",))  # it trains one more, of few patches, to see whether that is noticed
    split = _usable(load_split(home.splits, settings.cohort.source), settings.cohort.source)
    data = data_source(home.synthetic(model))
    facts = {"model": model, "audit": settings.audit}
    with training_run("evaluation", f"audit {model}", stage=f"audit@{model}", settings=facts, data=data) as run:
        # Patients' patches stay with the project, and go with the stage.
        with scratch_folder(home.root / ".work" / "held-out") as folder, whole_folder(home.audit(model)) as target:
            found = _audit(settings, home, model, split, folder, target)
            write_json(target / "audit.json", found)
            patient_scores_figure(found, target / "scores.png")
            (target / "index.html").write_text(build_audit_page(found, read_bytes(target / "scores.png", MOST_PICTURE)), encoding="utf-8")
            write_shared(shared_audit(found), target / SHARED)
        run.final({finding["name"]: finding["value"] for finding in found["findings"]})
        run.tag("verdict_set", found["verdicts"]["set"])
        for name in AUDIT_FILES:  # a tracking server may stand elsewhere
            run.artifact(home.audit(model) / SHARED / name)


def write_shared(shared: Mapping[str, Any], folder: Path) -> None:
    """What of an audit may leave: audit.json, and a page and a figure made of nothing but that."""
    folder.mkdir()
    numbers, page = AUDIT_FILES
    write_json(folder / numbers, shared)
    picture = folder / "attacks.png"
    attacks_figure(shared, picture)
    (folder / page).write_text(build_audit_page(shared, read_bytes(picture, MOST_PICTURE)), encoding="utf-8")
    picture.unlink()  # it is in the page


def audit_digest(settings: Settings) -> str:
    """Changes with the audit's settings and limits."""
    return digest(settings.audit)


def _audit(settings: Settings, home: Workspace, model: str, split: Split, scratch: Path, target: Path) -> dict[str, Any]:
    data = AuditData(load_audited(settings, home, model, split, scratch))
    work = Audit(data, settings.audit)
    numbers: dict[str, Any] = {}
    steps: dict[str, Callable[[], Any]] = {
        "membership": lambda: {**work.set_attacks(), **work.generator_attacks()},
        "checkpoints": work.checkpoints,
        "linkage": work.linkage,
        "nearer": work.nearer,
        "plain_differences": work.plain_differences,
        "usefulness": lambda: _with_distance(work),
        "planted": lambda: attack_planted_copies(data, settings.audit),
        "overfitted": lambda: attack_overfitted_generator(data, settings.audit),
    }
    copied = work.copies()
    numbers.update({name: found for name, (found, _) in copied.items()})
    for name, step in progress(steps.items(), f"audit {model}", len(steps)):
        numbers[name] = step()
    searches = [search for _, search in copied.values()]
    gallery(searches, data.images["synthetic"], data.images["training"], target / "gallery.png")
    facts = {
        "model": model,
        "set_digest": data_digest(home.synthetic(model)),
        "audit_digest": audit_digest(settings),
        "n_synthetic": len(data.inputs.synthetic),
        "n_training_patches": len(data.inputs.training),
        "patch_size": data.inputs.synthetic.size,
        "patients": {"training": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "limits": settings.audit.limits.model_dump(mode="json"),
        "settings": settings.audit.model_dump(mode="json", exclude={"limits"}),
    }
    return {**facts, **numbers, **judge(numbers, settings.audit.limits)}


def _usable(split: Split, site: str) -> Split:
    for part, what in (("validation", "what controls compare with"), ("test", "the people who were not trained on")):
        if not getattr(split, part):
            raise InputError(f"splits/{site}.json: no {part} patient; the audit needs at least one, {what}: see cohort.sites.{site}.split")
    return split


def load_audited(settings: Settings, home: Workspace, model: str, split: Split, scratch: Path) -> AuditInputs:
    """Everything that is audited. Test and validation patients' patches are cut for the audit alone and do not outlive it."""
    training = home.real_patches(settings, split.train)
    names = (*split.test, *split.validation)
    build_patches(home.site_root(settings, settings.cohort.source), names, settings.patches, settings.cohort.intensity, scratch / "patches")
    held_out = open_patch_set(scratch / "patches")
    segmenter = load_segmenter(home.unet("real"))
    segmenter.unet.to(device())
    chosen = _chosen(home.generator(model) / "generator.json")
    generator, size, folder = settings.generator(model), training.size, home.generator(model)
    steps, seed = settings.audit.overfit_steps, settings.audit.seed
    return AuditInputs(
        training=training,
        test=held_out.of_patients(split.test),
        validation=held_out.of_patients(split.validation),
        synthetic=_synthetic(home, model, training),
        latent_space=family_of(generator).latent_space(load_sampler(folder, generator, size, device())),
        critic=load_critic(folder, generator, size),
        control=CONTROL({"width": generator.width} | settings.generator_defaults, steps, seed),
        features=lambda images: unet_features(segmenter, images),
        step=chosen.step,
        probes=chosen.probes,
        at_step=lambda step: load_sampler(folder, generator, size, device(), step),
        scratch=scratch,
    )


class _Chosen(BaseModel):
    """What of generator.json the audit needs: the chosen step, and all that the probe saw, each with its step."""

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


def _with_distance(work: Audit) -> dict[str, Any]:
    """Likeness and vessels, with the Frechet distance beside what it is between two halves of the training patients."""
    features = work.data.raw_features
    halves = [features["training"][work.data.number % 2 == half] for half in (0, 1)]
    if not len(halves[1]):
        halves = [features["training"][half::2] for half in (0, 1)]
    distances = {"fd_unet": frechet_distance(features["training"], features["synthetic"]), "fd_unet_floor": frechet_distance(*halves)}
    return {**work.usefulness(), **distances}
