"""Stage audit-references: results that audits need and that do not depend on the generator, computed once."""

from __future__ import annotations

from pathlib import Path

from angiosynth.compute.precision import device
from angiosynth.compute.threads import use_threads
from angiosynth.data.patches import build_patches, open_patch_set
from angiosynth.data.split import Split, load_split
from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.registry import CONTROL
from angiosynth.privacy.audited import RealData, RealInputs, sampled
from angiosynth.privacy.real_audit import RealAudit
from angiosynth.project.resuming import references_digest
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.output import scratch_folder, whole_folder
from angiosynth.segmentation.features import unet_features
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.settings import REAL, Settings

SCRATCH = "held-out"  # folder in .work for patches of people outside the training set; removed at the end


def audit_references(settings: Settings, home: Workspace) -> None:
    """Compute features, thresholds, controls and the memorising control generator into data/audit-references, which is confidential."""
    use_threads(settings.threads)
    split = split_for_audit(settings, home)
    defaults = settings.generator_defaults
    # Without a default width the control depends on the width of each generator and is trained by each audit.
    control = CONTROL(defaults, settings.audit.overfit_steps, settings.audit.seed) if "width" in defaults else None
    # Patches of patients stay inside the project and are deleted after the stage.
    with scratch_folder(home.root / ".work" / SCRATCH) as scratch, whole_folder(home.audit_references) as target:
        data = RealData(load_real(settings, home, split, scratch, control))
        RealAudit(data, settings.audit).prepare("audit references")
        data.references.save(target, references_digest(settings, home, split))


def split_for_audit(settings: Settings, home: Workspace) -> Split:
    """Load the split of the source.

    Raises:
        InputError: it has no validation or no test patient.
    """
    site = settings.cohort.source
    split = load_split(home.splits, site)
    for part, purpose in (("validation", "for the controls"), ("test", "the people who were not trained on")):
        if not getattr(split, part):
            raise InputError(
                f"splits/{site}.json: no {part} patient; the audit needs at least one, {purpose}: see cohort.sites.{site}.split"
            )
    return split


def load_real(settings: Settings, home: Workspace, split: Split, scratch: Path, control: GeneratorSettings | None) -> RealInputs:
    """Load the real patches of an audit.

    Patches of people outside the training set are cut into `scratch`, which is removed after the audit. For people without a label the
    patches are centred by the prediction of the U-net, so that they show vessels as often as those of labelled people.
    """
    source = settings.cohort.source
    held_out = home.patients(settings, source, split.held_out)
    predicted = {patient.id: home.predictions(REAL) / f"{patient.id}.nii.gz" for patient in held_out if patient.label is None}
    names = (*split.test, *split.validation, *split.held_out)
    build_patches(home.site_root(settings, source), names, settings.patches, settings.cohort.intensity, scratch / "patches", predicted)
    cut = open_patch_set(scratch / "patches")
    segmenter = load_segmenter(home.unet(REAL))
    segmenter.unet.to(device())
    most = settings.audit.most_patches
    return RealInputs(
        training=sampled(home.real_patches(settings, split.train), most),
        test=sampled(cut.of_patients([*split.test, *(patient.id for patient in held_out if patient.label)]), most),
        validation=sampled(cut.of_patients(split.validation), most),
        control=control,
        features=lambda images: unet_features(segmenter, images),
        scratch=scratch,
        unlabelled=sampled(cut.of_patients(predicted), most) if predicted else None,
    )
