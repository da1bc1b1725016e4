"""The shareable set as a folder: patches, stacks, card, audit, loader, checksums."""

from __future__ import annotations

import errno
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.data.patches import PatchSet, create_patch_arrays
from angiosynth.errors import InputError
from angiosynth.reading import MIB, read_bytes, read_text
from angiosynth.release.card import LOADER, card_of, croissant_of, readme_of
from angiosynth.release.checksums import verify, write_checksums
from angiosynth.release.identifiers import Identifiers, refuse_identifiers
from angiosynth.release.signature import SUMS, sign
from angiosynth.runtime.archives import PackedArray, packed_arrays
from angiosynth.runtime.output import read_json, whole_folder, write_json
from angiosynth.settings import IntensitySettings
from angiosynth.settings.audit import AUDIT_FILES, ReleaseSettings

nib: Any = nibabel
NOTHING = Identifiers()
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STACK = 10_000  # patches of one NIfTI file, whose axes end at 32,767
BLOCK = 1 << 24  # bytes that are unpacked at once
MOST_PAGE = 64 * MIB  # of the audit's page, whose figures are within it
REFUSED = {
    "over": "the audit found a leak",
    "inconclusive": "the audit is inconclusive: it did not find leaks planted to test it",
    "too few patients": "there are too few patients for the audit to tell anything",
    "unclear": "the audit cannot tell a measure that passed its limit from chance",
}


def refusal(audit: Mapping[str, Any], set_digest: str, audit_digest: str) -> str:
    """Why a set may not be released as it is, "" where nothing speaks against it. An override does not help where the audit is of
    another set.

    Args:
        audit: audit.json.
        set_digest: of the set as it is now.
        audit_digest: of the section `audit` as it is now.

    Raises:
        InputError: the audit is of another set, or was made with other settings or limits.
    """
    model = audit.get("model", "MODEL")
    if audit.get("set_digest") != set_digest:
        raise InputError(f"audit/{model}: is of another set than the one that is there; run `dvc repro audit@{model}` first")
    if audit.get("audit_digest") != audit_digest:
        raise InputError(f"audit/{model}: was made with other settings or limits; run `dvc repro audit@{model}` first")
    return REFUSED.get(audit["verdicts"]["set"], "")


def build_package(
    target: Path,
    synthetic: PatchSet,
    audit: Mapping[str, Any],
    audit_folder: Path,
    *,
    by: ReleaseSettings,
    date: str,
    override: str = "",
    key: Path | None = None,
    identifiers: Identifiers = NOTHING,
) -> None:
    """Write the package to `target`, whole or not at all.

    Args:
        target: a new folder; its name is the package's.
        synthetic: the set.
        audit: what of audit.json may leave, and the folder that it lies in.
        by, date, override: for the card.
        key: an ed25519 private key to sign with.
        identifiers: names and paths that may stand nowhere in the package.

    Raises:
        InputError: the folder is there already, its name is unusable, or an identifier was found.
    """
    if not NAME.fullmatch(target.name):
        raise InputError(f"{target}: the name of a package is letters, digits, dots and dashes; name another")
    if target.exists():
        raise InputError(f"{target}: is there already; what was released is not changed, name another")
    with whole_folder(target) as folder:
        image, label = (np.ascontiguousarray(part[synthetic.rows]) for part in (synthetic.image, synthetic.label))
        np.savez_compressed(folder / "patches.npz", image=image, label=label)
        for name, stack in (("image", image), ("label", label)):
            _write_stacks(folder / "nifti", name, stack)
        (folder / "audit").mkdir()
        for name in AUDIT_FILES:
            (folder / "audit" / name).write_bytes(read_bytes(audit_folder / name, MOST_PAGE))
        card = card_of(target.name, synthetic.meta, audit, override, by, date)
        write_json(folder / "card.json", card)
        (folder / "README.md").write_text(readme_of(card), encoding="utf-8")
        (folder / "load.py").write_text(LOADER, encoding="utf-8")
        write_checksums(folder)
        write_json(folder / "croissant.json", croissant_of(card, _listed(folder)))
        write_checksums(folder)
        if key is not None:
            sign(folder, key)
        refuse_identifiers(folder, identifiers)


def open_package(folder: Path, trusted: Path | None, scratch: Path) -> tuple[PatchSet, IntensitySettings, str]:
    """A package checked against its checksums: its pairs as a patch set in `scratch`, its intensity rule, what was checked.

    Raises:
        InputError: the package is not whole, not what its checksums tell, or not by the trusted key.
    """
    told = verify(folder, trusted)
    card = read_json(folder / "card.json")
    try:
        intensity = IntensitySettings.model_validate(card["intensity"])
        with packed_arrays(folder / "patches.npz", ("image", "label")) as pair:
            image, label = _unpacked(folder / "patches.npz", pair, scratch)
    except (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise InputError(f"{folder}: patches.npz or card.json is no package's; get it again") from error
    return PatchSet(image, label, np.full(len(image), "", np.str_), np.arange(len(image)), card, scratch), intensity, told


def _unpacked(path: Path, pair: tuple[PackedArray, ...], scratch: Path) -> tuple[ImagePatches, LabelPatches]:
    """Image and label as files in `scratch`, a block at a time: the set may be larger than the memory."""
    n, size = pair[0].shape[0] if pair[0].shape else 0, pair[0].shape[-1] if pair[0].shape else 0
    if any(part.dtype != np.uint8 or part.shape != (n, size, size) for part in pair):
        raise InputError(f"{path}: not pairs (n, x, y) of square 8-bit patches; get the package again")
    if not n or not size:
        raise InputError(f"{path}: no pairs, or labels other than 0 and 1; get the package again")
    scratch.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(scratch).free, 2 * n * size**2
    if free < needed:
        raise InputError(f"{path}: takes {needed / 1e9:.1f} GB in {scratch}, {free / 1e9:.1f} GB are free; free some space")
    arrays = create_patch_arrays(scratch, n, size)
    block = max(1, BLOCK // size**2)
    for part, array, most in zip(pair, arrays, (255, 1), strict=True):
        for start in range(0, n, block):
            part.read_into(array[start : start + block])
            if array[start : start + block].max() > most:
                raise InputError(f"{path}: no pairs, or labels other than 0 and 1; get the package again")
    return arrays


def _write_stacks(folder: Path, name: str, patches: np.ndarray[Any, Any]) -> None:
    """NIfTI files (x, y, n) of at most STACK patches; their headers are made anew and hold nothing but the shape."""
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(range(0, len(patches), STACK)):
        stack = np.moveaxis(patches[start : start + STACK], 0, 2)
        image = nib.Nifti1Image(np.ascontiguousarray(stack), np.eye(4))
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{name}-{number:02d}.nii.gz")


def _listed(folder: Path) -> dict[str, tuple[str, int]]:
    lines = (line.split("  ", 1) for line in read_text(folder / SUMS).splitlines())
    return {name: (digest, (folder / name).stat().st_size) for digest, name in lines}
