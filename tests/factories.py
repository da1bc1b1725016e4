"""Small BIDS cohorts and NIfTI files for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import yaml
from numpy.typing import NDArray

from angiosynth.arrays import to_levels
from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet
from angiosynth.evaluation.patients import PatientScore
from angiosynth.generators.flow.kinds import FlowSettings
from angiosynth.settings import Settings

if TYPE_CHECKING:
    import pytest

nib: Any = nibabel

Array = NDArray[Any]


def affine_of(spacing_mm: tuple[float, float, float] = (0.8, 0.9, 1.1), origin: tuple[float, float, float] = (-10.0, 5.0, 3.0)) -> Array:
    """Canonical (RAS+) affine."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = origin
    return affine


def write_nifti(path: Path, array: Array, affine: Array | None = None, orientation: str = "RAS", description: str = "") -> Path:
    """Write a canonical array the way a scanner with another axis order would store it."""
    affine = affine_of() if affine is None else affine
    canonical = nib.orientations.axcodes2ornt(("R", "A", "S"))
    turn = nib.orientations.ornt_transform(canonical, nib.orientations.axcodes2ornt(tuple(orientation)))
    stored = nib.orientations.apply_orientation(array, turn)
    image = nib.Nifti1Image(stored, affine @ nib.orientations.inv_ornt_aff(turn, array.shape))
    image.header["descrip"] = description.encode()
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def make_arrays(shape: tuple[int, int, int], seed: int, tubes: int = 6, radius: float = 1.6) -> tuple[Array, Array, Array]:
    """Scan (int16), brain and label (uint8), all (x, y, z): bright straight tubes in an ellipsoid of noise."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(length) for length in shape), indexing="ij"), axis=-1).astype(np.float64)
    centre = (np.array(shape) - 1) / 2
    brain = (((grid - centre) / (np.array(shape) * 0.48)) ** 2).sum(axis=-1) <= 1
    label = np.zeros(shape, bool)
    for _ in range(tubes):
        through = centre + rng.uniform(-0.2, 0.2, 3) * shape
        direction = rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        offset = grid - through
        label |= np.linalg.norm(offset - (offset @ direction)[..., None] * direction, axis=-1) <= radius
    label &= brain
    scan = rng.normal(300, 30, shape) * (0.3 + 0.7 * brain) + 500 * label
    return np.clip(scan, 0, 2000).astype(np.int16), brain.astype(np.uint8), label.astype(np.uint8)


def make_cohort(
    folder: Path,
    n: int = 3,
    shape: tuple[int, int, int] = (40, 44, 6),
    *,
    seed: int = 0,
    labelled: bool = True,
    masked: bool = True,
    orientation: str = "RAS",
    spacing_mm: tuple[float, float, float] = (0.8, 0.9, 1.1),
) -> Path:
    """A BIDS folder with patients sub-01, sub-02, ...; the same arguments give the same volumes.

    Args:
        folder: where to write; also returned.
        n: number of patients.
        shape: (x, y, z) in canonical order.
        seed: other seeds give other heads.
        labelled: write vessel labels.
        masked: write brain masks.
        orientation: how files store their axes.
        spacing_mm: canonical voxel size.
    """
    for index in range(n):
        name = f"sub-{index + 1:02d}"
        scan, brain, label = make_arrays(shape, seed * 1000 + index)
        stem = folder / name / "anat" / name
        write_nifti(Path(f"{stem}_angio.nii.gz"), scan, affine_of(spacing_mm), orientation)
        if masked:
            write_nifti(Path(f"{stem}_desc-brain_mask.nii.gz"), brain, affine_of(spacing_mm), orientation)
        if labelled:
            write_nifti(Path(f"{stem}_desc-vessel_mask.nii.gz"), label, affine_of(spacing_mm), orientation)
    return folder


def tiny_kinds() -> dict[str, dict[str, Any]]:
    """An entry of `generators` for every kind, its steps and sizes as small as they go."""
    adversarial = {"steps": 4, "latent_size": 6, "batch_size": 4, "learning_rate_generator": 5e-4, "learning_rate_critic": 5e-4}
    wasserstein = adversarial | {"critic_iterations": 2, "betas": [0.0, 0.9]}
    discriminating = {"critic_iterations": 1, "betas": [0.5, 0.999], "minibatch_kernels": 3, "minibatch_dimensions": 2}
    augmented = {"gradient_penalty_every": 2, "augmentation": "adaptive", "augmentation_pairs": 20}
    grid = {"shape": [40, 40, 4], "spacing_mm": [4.8, 4.8, 12.0], "patches_a_head": 60}
    entries: dict[str, dict[str, Any]] = {
        "dcgan": wasserstein | discriminating,
        "wgan-gp": wasserstein,
        "wgan-gp-sn": wasserstein,
        "r3gan": adversarial | {"expansion": 2, "group_channels": 2} | augmented,
        "flow": {"steps": 4, "batch_size": 4, "levels": 2, "learning_rate": 1e-3, "sampling_steps": 2},
        "private-phantom": {"steps": 4, "candidates": 6, "votes": 2, "kept": 3, "noise_source": "seeded"} | grid,
    }
    return {kind: {"kind": kind, **entry} for kind, entry in entries.items()}


def few_samples(patch: pytest.MonkeyPatch) -> None:
    """A quarter of a posterior's samples and of the latents for batch norm's statistics: they take longest, and no test here needs more."""
    patch.setattr("angiosynth.generators.gan.training.STATISTICS_BATCHES", 2)
    patch.setattr("angiosynth.generators.private_evolution.evolution.SAMPLES", 96)


def tiny_tree() -> dict[str, Any]:
    """A params.yaml as nested dicts, every step and width as small as it goes: 16x16 patches, seconds for the whole pipeline.

    It has the paper's generators alone, since each more takes the pipeline's tests many stages; `tiny_kinds` has all kinds.
    """
    kinds = tiny_kinds()
    split = {"train": 2, "validation": 1, "test": 1}
    common = {"width": 4, "precision": "float32", "probes": 1, "checkpoint_every": 2}
    tree: dict[str, Any] = {
        "threads": "auto",
        "phantom": {
            "sites": {
                "site-a": {"patients": 4, "shape": [80, 80, 8], "spacing_mm": [2.4, 2.4, 2.4]},
                "site-b": {"patients": 4, "shape": [80, 80, 8], "spacing_mm": [2.4, 2.4, 2.4], "orientation": "LPS"},
            }
        },
        "cohort": {
            "source": "site-a",
            "sites": {name: {"path": f"data/phantom/{name}", "split": split} for name in ("site-a", "site-b")},
        },
        "patches": {"size": 16, "on_vessels": 20, "on_bright": 0, "in_brain": 20},
        "generator_defaults": common,
        "generators": {kind: kinds[kind] for kind in ("dcgan", "wgan-gp", "wgan-gp-sn")},
        "probe": {"width": 2, "steps": 2, "batch_size": 4, "pairs": 8},
        "synthesis": {"pairs": 24},
        "unet": {"width": 2, "steps": 4, "batch_size": 4, "validations": 2, "precision": "float32"},
        "evaluation": {"bootstrap": 50},
        "transfer": {"patients": [1], "steps": 2, "batch_size": 4, "validations": 1},
        "worth": {"patients": [1], "together": True},
        "audit": {
            "bootstrap": 50,
            "checked": 8,
            "compared": 12,
            "most_patches": 20,
            "reconstructed": 2,
            "reconstruction_steps": 2,
            "overfit_steps": 4,
        },
        "release": {},
        "sweep": {"generator_steps": 2, "pairs": 12, "unet_steps": 2},
    }
    unshared: dict[str, Any] = json.loads(json.dumps(tree))  # no part is another's, each can be changed alone
    return unshared


def untried(tree: dict[str, Any]) -> dict[str, Any]:
    """The tree with one generator of no network: before a stage or a check, those of all generators are tried, which takes seconds."""
    return tree | {"generators": {"private-phantom": tiny_kinds()["private-phantom"]}}


def changed(tree: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The tree with some values set, named by path with two underscores: generators__wgan_gp__steps for generators: wgan-gp: steps."""
    for name, value in values.items():
        *path, last = name.split("__")
        node = tree
        for key in path:
            node = node[key if key in node else key.replace("_", "-")]
        node[last] = value
    return tree


def full_params(tree: dict[str, Any]) -> str:
    """params.yaml with its sections in full, since DVC asks for every key that dvc.yaml names; generators and drawn sites as they are."""
    full = Settings.model_validate(tree).model_dump(mode="json", by_alias=True)
    full["phantom"]["sites"] = tree["phantom"]["sites"]
    return yaml.safe_dump({**full, "generators": tree["generators"]})


def one_site(path: str) -> dict[str, Any]:
    """Section `cohort` of `tiny_tree` with the source alone, its scans in a folder."""
    cohort: dict[str, Any] = tiny_tree()["cohort"]
    return cohort | {"sites": {"site-a": cohort["sites"]["site-a"] | {"path": path}}}


def tiny_settings(**values: Any) -> Settings:
    """`tiny_tree` with some values changed: generator_defaults__ema=0.0, generators__wgan_gp__steps=2."""
    return Settings.model_validate(changed(tiny_tree(), values))


def lab_settings(**values: Any) -> Settings:
    """The same for scans in lab/a and lab/b."""
    return tiny_settings(cohort__sites__site_a__path="lab/a", cohort__sites__site_b__path="lab/b", **values)


def tiny_generator(name: str, **values: Any) -> Any:
    """Settings of one kind of `tiny_kinds`, with some values changed."""
    return tiny_settings(generators={name: tiny_kinds()[name] | values}).generators[name]


def tiny_flow(**values: Any) -> FlowSettings:
    """Settings of a flow as small as it goes, with some values changed."""
    settings = tiny_generator("flow", **values)
    assert isinstance(settings, FlowSettings)
    return settings


def tiny_patches(n: int = 12, size: int = 16, seed: int = 0, patients: int = 2) -> PatchSet:
    """Pairs in memory: noise with one bright band, which is the label."""
    rng = np.random.default_rng(seed)
    image = rng.integers(40, 120, (n, size, size)).astype(np.uint8)
    label = np.zeros((n, size, size), np.uint8)
    for row, start in enumerate(rng.integers(0, size - 3, n)):
        label[row, start : start + 3] = 1
    image[label == 1] = 240
    names = np.array([f"sub-{row % patients + 1:02d}" for row in range(n)])
    meta = {"intensity": {"rule": "volume", "low": 0.5, "high": 99.9}, "spacing_mm": [0.312, 0.312, 0.6], "spacing_varies": False}
    return PatchSet(image, label, names, np.arange(n), meta, Path("tiny"))


def make_scan(shape: tuple[int, int, int] = (20, 24, 5), seed: int = 0, patient: str = "sub-01") -> Scan:
    """A scan in memory, its grey levels exact steps of 1/127.5, vessels brighter than most of the brain."""
    volume, brain, label = make_arrays(shape, seed, tubes=3)
    image = np.where(brain, volume / 600.0 - 1.0, -1.0).clip(-1, 1).astype(np.float32)
    levels = to_levels(image).astype(np.float32) / 127.5 - 1.0
    return Scan(patient, levels.astype(np.float32), brain.astype(bool), label.astype(bool), (0.8, 0.9, 1.1), Path(f"{patient}_angio.nii"))


def make_score(patient: str, dsc: float, hd95_mm: float = 2.0, hd_mm: float | None = None, empty: int = 0, seed: int = 0) -> PatientScore:
    """A patient's row; the metrics that are not given follow from those that are."""
    distances = {"hd95_mm": hd95_mm, "hd_mm": 2 * hd95_mm if hd_mm is None else hd_mm, "assd_mm": hd95_mm / 4, "bahd_mm": hd95_mm / 2}
    voxels = {name.replace("_mm", "_voxels"): 2 * value for name, value in distances.items()}
    return PatientScore(patient, dsc=dsc, precision=dsc, recall=dsc, cldice=dsc, **distances, **voxels, empty=empty, seed=seed)
