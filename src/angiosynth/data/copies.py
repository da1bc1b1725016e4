"""Detect duplicate scans and labels: one person under two names could be used for both training and testing.

Exact copies have the same voxels in any order: a file may have been renamed, recompressed, reoriented or mirrored. They are detected by a
digest that does not depend on the order of voxels. Near copies have different values: rounded, scaled, denoised, resampled, or shifted by a
voxel or two. They are detected by the correlation of coarse fingerprints. Public data sets that reuse scans often strip the skull,
crop or pad; a second fingerprint of the brain alone, in the bounding box of its mask, is invariant to these.
"""

from __future__ import annotations

import hashlib
import itertools
import zipfile
from collections import defaultdict
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

AT_ONCE = 64  # fingerprints compared at once
BLOCKS = 24  # along each axis of a fingerprint
# Correlation of fingerprints from which a scan counts as a near copy; docs/benchmarks.md has the error rates.
NEAR_COPY = 0.75
FEWEST_VOXELS = 100  # smaller labels are compared with their position, since labels of two people may agree in shape by chance
MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # constants of splitmix64 (Steele et al. 2014)


@dataclass(frozen=True)
class Twin:
    """The earlier scan or label of which a volume is a copy. `near`: the values differ, but fingerprints have this correlation."""

    name: str
    near: bool = False
    correlation: float = 1.0


@dataclass
class CopySearch:
    """Stores digests and fingerprints (about 100 kB) of scans and labels, and detects copies of them.

    `earlier`: scans and labels that take part in the comparison but are not saved, such as those of other sites.
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
        """Merge several searches into one."""
        merged = cls()
        for search in searches:
            merged._scans |= search._scans
            merged._labels |= search._labels
            merged._names += search._names
            merged._prints += search._prints
            merged._brain_names += search._brain_names
            merged._brain_prints += search._brain_prints
        return merged

    def among(self, names: Callable[[str], bool]) -> CopySearch:
        """Return a search limited to the scans and labels whose name is accepted by `names`."""
        scans, labels = ({digest: name for digest, name in known.items() if names(name)} for known in (self._scans, self._labels))
        kept = [pair for pair in zip(self._names, self._prints, strict=True) if names(pair[0])]
        brains = [pair for pair in zip(self._brain_names, self._brain_prints, strict=True) if names(pair[0])]
        return CopySearch(None, scans, labels, *_columns(kept), *_columns(brains))

    def save(self, path: Path) -> None:
        """Write digests and fingerprints, without those of `earlier`, as npz."""
        texts = {
            name: np.array([*known.items()], np.str_).reshape(-1, 2) for name, known in (("scans", self._scans), ("labels", self._labels))
        }
        prints = {f"print_{number}": detail for number, detail in enumerate(self._prints)}
        prints |= {f"brain_{number}": detail for number, detail in enumerate(self._brain_prints)}
        names = {"names": np.array(self._names, np.str_), "brain_names": np.array(self._brain_names, np.str_)}
        with whole_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **{**names, **texts, **prints})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> CopySearch:
        """Read a file written by `save`.

        Raises:
            InputError: it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as kept:
                names = kept["names"].tolist()
                scans, labels = (dict(kept[name].tolist()) for name in ("scans", "labels"))
                prints = [kept[f"print_{number}"] for number in range(len(names))]
                # Files of earlier versions have no fingerprints of brains.
                brains = kept["brain_names"].tolist() if "brain_names" in kept.files else []
                return cls(None, scans, labels, names, prints, brains, [kept[f"brain_{number}"] for number in range(len(brains))])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: damaged; run `dvc repro cohort` to make it again") from error

    def scan(self, name: str, array: NDArray[Any], brain: Mask | None = None) -> Twin | None:
        """Add a scan (x, y, z) and return an earlier one with the same voxels in any order, else the most similar near copy, else None.

        With a brain mask (x, y, z) the brain alone is also compared with earlier scans that had a mask.
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
        """Add a label (x, y, z) in canonical order and return an earlier one that is equal up to the empty margin, else None."""
        cut = mask[ndimage.find_objects(mask.astype(np.int8))[0]] if np.count_nonzero(mask) >= FEWEST_VOXELS else mask
        digest = hashlib.sha256(f"{cut.shape}".encode() + np.packbits(cut.ravel(order="F")).tobytes()).hexdigest()
        for search in [self.earlier, self] if self.earlier else [self]:
            if digest in search._labels:
                return Twin(search._labels[digest])
        self._labels[digest] = name
        return None


def order_free_digest(array: NDArray[Any]) -> str:
    """Return the digest of the nonzero values of a volume (x, y, z), independent of their order.

    Each value is hashed to 64 bits in two ways. The digest consists of the two sums over all voxels modulo 2^64. Sums do not depend on the
    order, so the digest is invariant to transposition, mirroring and padding with zeros. It is no protection against crafted collisions.
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
    """Block means of a volume (x, y, z), at most 24 per axis, minus the local mean of the blocks, normalised to mean 0 and length 1.

    Block means are insensitive to noise, rounding and filters. The subtraction removes the coarse shape that all heads share. A constant
    volume gives zeros.
    """
    means = array
    for axis, length in enumerate(array.shape):
        edges = np.arange(min(BLOCKS, length)) * length // min(BLOCKS, length)
        sizes = np.diff(np.append(edges, length))
        means = np.add.reduceat(means, edges, axis=axis, dtype=np.float64) / np.expand_dims(sizes, [i for i in range(3) if i != axis])
    # The high-pass filter keeps the details in which people differ; without it any two heads would correlate.
    detail = means - ndimage.uniform_filter(means, 3, mode="nearest")
    detail -= detail.mean()
    norm = float(np.linalg.norm(detail))
    return np.asarray(detail / norm if norm > 0 else detail, np.float32)


def brain_fingerprint(array: NDArray[Any], brain: Mask) -> NDArray[np.float32]:
    """`fingerprint` of a scan (x, y, z) in the bounding box of its brain mask, with the brain's mean outside the mask.

    Neither the skull nor the shape of the mask, which are similar in all heads, affects the fingerprint.
    """
    box = ndimage.find_objects(brain.astype(np.int8))[0]
    inside = np.asarray(array[box], np.float32)
    return fingerprint(np.where(brain[box], inside, inside[brain[box]].mean(dtype=np.float64)))


def _likenesses(detail: NDArray[np.float32], known: Iterable[tuple[list[str], list[NDArray[np.float32]]]]) -> list[tuple[float, str]]:
    """Correlations with the known fingerprints of the same number of blocks, each with the name of the scan."""
    by_shape: defaultdict[tuple[int, ...], list[tuple[str, NDArray[np.float32]]]] = defaultdict(list)
    for name, other in (pair for names, prints in known for pair in zip(names, prints, strict=True)):
        if sorted(other.shape) == sorted(detail.shape):
            by_shape[other.shape].append((name, other))
    alike: list[tuple[float, str]] = []
    for shape, pairs in by_shape.items():
        views = _stacked_views(detail, shape)
        # Many at once: a product of two matrices reads the views, 2.6 MB, from memory once instead of once for each scan.
        for start in range(0, len(pairs), AT_ONCE):
            names, others = _columns(pairs[start : start + AT_ONCE])
            correlations = (views @ np.stack([other.ravel() for other in others]).T).max(axis=0)
            alike += zip(correlations.tolist(), names, strict=True)
    return alike


def _columns(pairs: list[tuple[str, NDArray[np.float32]]]) -> tuple[list[str], list[NDArray[np.float32]]]:
    return [name for name, _ in pairs], [detail for _, detail in pairs]


def correlation(detail: NDArray[np.float32], known: NDArray[np.float32]) -> float:
    """Return the highest correlation of fingerprints over the 48 rotations and reflections of the first; sorted shapes must be equal."""
    return float((_stacked_views(detail, known.shape) @ known.ravel()).max())


def _stacked_views(detail: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Those of the 48 rotations and reflections of a fingerprint that have this shape: (views, blocks)."""
    return np.stack([view.ravel() for view in _symmetries(detail) if view.shape == shape])


def _symmetries(detail: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for axes in itertools.permutations(range(3)):
        turned = detail.transpose(axes)
        for signs in itertools.product((1, -1), repeat=3):
            yield turned[:: signs[0], :: signs[1], :: signs[2]]
