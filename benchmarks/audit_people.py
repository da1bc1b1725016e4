"""Drawn people for benchmarks/audit_errors.py: their patches, drawn once and kept, and the sets that are made of them.

Of each head a slab of 32 slices is drawn and patches are cut as a site's are. Patches alone are kept: image.npy, label.npy (one bit a
pixel) and patients.npy, about 17 MB for 96 people, so that a folder made on one machine can be carried to another.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.data.patches import PatchSet
from angiosynth.privacy.drawn_patches import drawn_patches
from angiosynth.runtime.progress import progress
from angiosynth.settings import PatchSettings, ScannerSettings

PEOPLE = 96
SITE, SEED = "audited", 11  # other people than those of the demo's sites
SCANNER = ScannerSettings(patients=PEOPLE, shape=(192, 224, 32), spacing_mm=(0.8, 0.8, 1.25))
PATCHES = PatchSettings(size=32, on_vessels=64, on_bright=48, in_brain=48)  # the demo's shares
FILES = ("image.npy", "label.npy", "patients.npy")


@dataclass(frozen=True)
class People:
    """Patches of drawn people: image and label (n, x, y), and the number of each patch's person (n,)."""

    image: ImagePatches
    label: LabelPatches
    person: NDArray[np.int64]

    def numbers(self) -> NDArray[np.int64]:
        return np.unique(self.person)

    def patches_of(self, people: Iterable[int], folder: Path) -> PatchSet:
        """All patches of some people as a patch set, which is in no folder: `folder` is for messages alone."""
        rows = np.flatnonzero(np.isin(self.person, list(people)))
        return as_patches(self.image[rows], self.label[rows], folder, np.array([f"sub-{number:03d}" for number in self.person[rows]]))


def as_patches(image: ImagePatches, label: LabelPatches, folder: Path, patient: NDArray[np.str_] | None = None) -> PatchSet:
    """Pairs (n, x, y) as a patch set, a synthetic one where no patients are given."""
    names = np.full(len(image), "", np.str_) if patient is None else patient
    meta: dict[str, Any] = {"size": image.shape[1], "n": len(image), "seed": SEED, "vessel_fraction": float(label.mean())}
    return PatchSet(image, label, names, np.arange(len(image)), meta, folder)


def load_people(folder: Path, jobs: int) -> People:
    """Read the people's patches of a folder; they are drawn first, in so many processes, where it has none."""
    if not all((folder / name).exists() for name in FILES):
        _draw_people(folder, jobs)
    image, bits, person = (np.load(folder / name, allow_pickle=False) for name in FILES)
    label = np.unpackbits(bits, axis=1)[:, : image[0].size].reshape(image.shape)
    return People(image, label, person)


def _draw_people(folder: Path, jobs: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbers = range(1, PEOPLE + 1)
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        drawn = list(progress(pool.map(_patches_of_one, numbers), "people", PEOPLE))
    image, label = (np.concatenate([one[part] for one in drawn]) for part in (0, 1))
    person = np.repeat(list(numbers), [len(one) for one, _ in drawn])
    for name, array in zip(FILES, (image, np.packbits(label.reshape(len(label), -1), axis=1), person), strict=True):
        np.save(folder / name, array)


def _patches_of_one(number: int) -> tuple[ImagePatches, LabelPatches]:
    return drawn_patches(SCANNER, PATCHES, SEED, number, SITE)


def seed_of(*parts: object) -> int:
    """A seed that depends on the parts alone, on every machine."""
    return zlib.crc32("/".join(map(str, parts)).encode())
