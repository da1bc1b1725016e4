"""Detect scans and labels that occur twice: one person under two names could be trained on and tested on.

Copies have the same voxels in any order: a file may be renamed, compressed again, stored in another orientation or mirrored. They are
detected by a digest that does not depend on the order. Near copies differ in their values too: rounded, scaled, denoised, shifted by a
voxel or two, resampled. They are detected by the correlation of coarse fingerprints. Data sets that use one another's scans strip skulls,
cut and pad: the fingerprint of the brain alone, in the box of its mask, is the same with and without them.
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from angiosynth.arrays import Mask
from angiosynth.errors import InputError
from angiosynth.runtime.output import whole_file

BLOCKS = 24  # along each axis of a fingerprint
# Correlation of fingerprints from which a scan is said to be a near copy; its errors are in docs/benchmarks.md.
NEAR_COPY = 0.75
FEWEST_VOXELS = 100  # of a label; smaller ones, of two people, may agree by chance wherever they lie
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # of splitmix64 (Steele et al. 2014)


@dataclass(frozen=True)
class Twin:
    """An earlier scan or label that this one is a copy of. `near`: not the same values, but alike by this correlation."""

    name: str
    near: bool = False
    correlation: float = 1.0


@dataclass
class CopySearch:
    """Remembers scans and labels by digests and fingerprints of about 100 kB, and detects those seen before.

    `earlier`: scans and labels that are compared with but not saved, such as other sites'.
    """

    earlier: CopySearch | None = None
    _scans: dict[str, str] = field(default_factory=dict)
    _labels: dict[str, str] = field(default_factory=dict)
    _names: list[str] = field(default_factory=list)
    _prints: list[NDArray[np.float32]] = field(default_factory=list)
    _brain_names: list[str] = field(default_factory=list)
    _brain_prints: list[NDArray[np.float32]] = field(default_factory=list)

    @classmethod
    def joined(cls, searches: Sequence[CopySearch]) -> CopySearch:
        """One search with the memories of all."""
        whole = cls()
        for search in searches:
            whole._scans |= search._scans
            whole._labels |= search._labels
            whole._names += search._names
            whole._prints += search._prints
            whole._brain_names += search._brain_names
            whole._brain_prints += search._brain_prints
        return whole

    def among(self, names: Callable[[str], bool]) -> CopySearch:
        """A search with the scans and labels whose name is accepted."""
        scans, labels = ({digest: name for digest, name in known.items() if names(name)} for known in (self._scans, self._labels))
        kept = [pair for pair in zip(self._names, self._prints, strict=True) if names(pair[0])]
        brains = [pair for pair in zip(self._brain_names, self._brain_prints, strict=True) if names(pair[0])]
        return CopySearch(None, scans, labels, *_columns(kept), *_columns(brains))

    def save(self, path: Path) -> None:
        """Write the memory, without `earlier`, as npz."""
        texts = {
            name: np.array([*known.items()], np.str_).reshape(-1, 2) for name, known in (("scans", self._scans), ("labels", self._labels))
        }
        prints = {f"print_{number}": one for number, one in enumerate(self._prints)}
        prints |= {f"brain_{number}": one for number, one in enumerate(self._brain_prints)}
        names = {"names": np.array(self._names, np.str_), "brain_names": np.array(self._brain_names, np.str_)}
        with whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{**names, **texts, **prints})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> CopySearch:
        """Read what `save` wrote.

        Raises:
            InputError: it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as kept:
                names = kept["names"].tolist()
                scans, labels = (dict(kept[name].tolist()) for name in ("scans", "labels"))
                prints = [kept[f"print_{number}"] for number in range(len(names))]
                # A file from before there were fingerprints of brains has none, and is not damaged.
                brains = kept["brain_names"].tolist() if "brain_names" in kept.files else []
                return cls(None, scans, labels, names, prints, brains, [kept[f"brain_{number}"] for number in range(len(brains))])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: damaged; run `dvc repro cohort` to make it again") from error

    def scan(self, name: str, array: NDArray[Any], brain: Mask | None = None) -> Twin | None:
        """Remember a scan (x, y, z); gives an earlier one with the same voxels in any order, else the most alike of the near copies.

        With a brain mask (x, y, z) it is also compared, by the brain alone, with earlier scans that had one.
        """
        digest, known = order_free_digest(array), [self.earlier, self] if self.earlier else [self]
        for search in known:
            if digest in search._scans:
                return Twin(search._scans[digest])
        self._scans[digest] = name
        detail = fingerprint(array)
        alike = _likenesses(detail, ((search._names, search._prints) for search in known))
        self._names.append(name)
        self._prints.append(detail)
        if brain is not None and brain.any():
            detail = brain_fingerprint(array, brain)
            alike += _likenesses(detail, ((search._brain_names, search._brain_prints) for search in known))
            self._brain_names.append(name)
            self._brain_prints.append(detail)
        likeness, other = max(alike, default=(0.0, ""))
        return Twin(other, near=True, correlation=likeness) if likeness >= NEAR_COPY else None

    def label(self, name: str, mask: Mask) -> Twin | None:
        """Remember a label (x, y, z) in canonical order; gives an earlier one that is the same but for the empty margin."""
        cut = mask[ndimage.find_objects(mask.astype(np.int8))[0]] if np.count_nonzero(mask) >= FEWEST_VOXELS else mask
        digest = hashlib.sha256(f"{cut.shape}".encode() + np.packbits(cut.ravel(order="F")).tobytes()).hexdigest()
        for search in [self.earlier, self] if self.earlier else [self]:
            if digest in search._labels:
                return Twin(search._labels[digest])
        self._labels[digest] = name
        return None


def order_free_digest(array: NDArray[Any]) -> str:
    """A digest of the nonzero values of a volume (x, y, z) that does not depend on their order.

    Each value is hashed to 64 bits in two ways; the two sums over all voxels are the digest, and sums do not depend on order. So
    transposing, mirroring and padding with zeros change nothing. Two different scans with the same values have never been seen.
    """
    sums = np.zeros(2, np.uint64)
    for plane in array.T:  # slice by slice, so that no second copy of the volume is made
        bits = np.asarray(plane, np.float32)[plane != 0].view(np.uint32).astype(np.uint64)
        with np.errstate(over="ignore"):
            for place, factor in enumerate(MIX):
                mixed = (bits + np.uint64(place + 1)) * factor
                mixed ^= mixed >> np.uint64(29)
                sums[place] += (mixed * factor).sum(dtype=np.uint64)
    return f"{sums[0]:016x}{sums[1]:016x}"


def fingerprint(array: NDArray[Any]) -> NDArray[np.float32]:
    """Means of at most 24 x 24 x 24 blocks, less the mean of the blocks around, with mean 0 and length 1.

    Means are insensitive to noise, rounding and filters. The subtraction removes the coarse shape that all heads have in common. A flat
    volume gives zeros.
    """
    means = array
    for axis, length in enumerate(array.shape):
        edges = np.arange(min(BLOCKS, length)) * length // min(BLOCKS, length)
        sizes = np.diff(np.append(edges, length))
        means = np.add.reduceat(means, edges, axis=axis, dtype=np.float64) / np.expand_dims(sizes, [i for i in range(3) if i != axis])
    # The high-pass leaves what distinguishes people: without it any two heads would correlate.
    detail = means - ndimage.uniform_filter(means, 3, mode="nearest")
    detail -= detail.mean()
    norm = float(np.linalg.norm(detail))
    return np.asarray(detail / norm if norm > 0 else detail, np.float32)


def brain_fingerprint(array: NDArray[Any], brain: Mask) -> NDArray[np.float32]:
    """`fingerprint` of a scan (x, y, z) in the box of its brain mask; voxels outside the mask have the brain's mean.

    So neither the skull nor the shape of the mask, which all heads have in common, takes part.
    """
    box = ndimage.find_objects(brain.astype(np.int8))[0]
    inside = np.asarray(array[box], np.float32)
    return fingerprint(np.where(brain[box], inside, inside[brain[box]].mean(dtype=np.float64)))


def _likenesses(detail: NDArray[np.float32], known: Iterable[tuple[list[str], list[NDArray[np.float32]]]]) -> list[tuple[float, str]]:
    """The correlation with each known fingerprint of the same number of blocks, and its scan's name."""
    pairs = (pair for names, prints in known for pair in zip(names, prints, strict=True))
    return [(correlation(detail, one), name) for name, one in pairs if sorted(one.shape) == sorted(detail.shape)]


def _columns(pairs: list[tuple[str, NDArray[np.float32]]]) -> tuple[list[str], list[NDArray[np.float32]]]:
    return [name for name, _ in pairs], [one for _, one in pairs]


def correlation(detail: NDArray[np.float32], known: NDArray[np.float32]) -> float:
    """The highest correlation of two fingerprints over all 48 rotations and mirrorings of the first; their sorted shapes are equal."""
    views = [view.ravel() for view in _symmetries(detail) if view.shape == known.shape]
    return float((np.stack(views) @ known.ravel()).max())


def _symmetries(detail: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for axes in itertools.permutations(range(3)):
        turned = detail.transpose(axes)
        for signs in itertools.product((1, -1), repeat=3):
            yield turned[:: signs[0], :: signs[1], :: signs[2]]
