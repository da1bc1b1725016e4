"""The shareable set as a folder: patches, stacks, card, audit, loader, checksums."""

from __future__ import annotations

import base64
import errno
import gzip
import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from angiosynth.arrays import ImagePatches, LabelPatches
from angiosynth.data.patches import PatchSet, create_patch_arrays
from angiosynth.errors import InputError
from angiosynth.reading import MIB, read_bytes, read_text
from angiosynth.release import card, checksums, generator, signature, unet, weights
from angiosynth.release.card import LOADER, Terms, card_of, readme_of
from angiosynth.release.checksums import verify, write_checksums
from angiosynth.release.croissant import DataFile, croissant_of
from angiosynth.release.formats import Format, format_of
from angiosynth.release.identifiers import Identifiers, refuse_identifiers
from angiosynth.release.signature import SUMS, sign
from angiosynth.runtime.archives import PackedArray, packed_arrays
from angiosynth.runtime.output import read_json, whole_folder, write_json
from angiosynth.settings import IntensitySettings
from angiosynth.settings.audit import AUDIT_FILES

nib: Any = nibabel
NOTHING = Identifiers()
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STACK = 10_000  # patches of one NIfTI file, whose axes end at 32,767
BLOCK = 1 << 24  # bytes that are unpacked at once
MOST_PAGE = 64 * MIB  # of the audit's page, whose figures are within it
PICTURE = re.compile(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
REFUSED = {
    "over": "the audit found a leak",
    "inconclusive": "the audit is inconclusive: it did not find leaks planted to test it",
    "too few patients": "there are too few patients for the audit to tell anything",
    "unclear": "the audit cannot tell a measure that passed its limit from chance",
}


def refusal(audit: Mapping[str, Any], set_digest: str, audit_digest: str) -> str:
    """The reason why a set may not be released without an override, "" if there is none.

    Args:
        audit: audit.json.
        set_digest: of the set as it is now.
        audit_digest: of the section `audit` as it is now.

    Raises:
        InputError: the audit is of another set, or was made with other settings or limits, which no override helps.
    """
    model = audit.get("model", "MODEL")
    if audit.get("set_digest") != set_digest:
        raise InputError(f"audit/{model}: is of another set than the present one; run `dvc repro audit@{model}` first")
    if audit.get("audit_digest") != audit_digest:
        raise InputError(f"audit/{model}: was made with other settings or limits; run `dvc repro audit@{model}` first")
    return REFUSED.get(audit["verdicts"]["set"], "")


def _unpack_page(content: bytes) -> list[bytes]:
    """An HTML page without its embedded pictures, and the pictures' files."""
    return [PICTURE.sub(b"", content), *(base64.b64decode(match, validate=True) for match in PICTURE.findall(content))]


def _unpack_gzip(content: bytes) -> list[bytes]:
    return [content, gzip.decompress(content)]


def _unpack_arrays(content: bytes) -> list[bytes]:
    """An .npz file, whose list of contents is plain, and its arrays."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if not all(name.endswith(".npy") for name in archive.namelist()):
            raise ValueError("holds other files than arrays")
        return [content, *(archive.read(name) for name in archive.namelist())]


# Every file of a package has one of these: another format is declared beside its writer and joined here.
FORMATS: dict[str, Format] = {
    ".npz": Format("application/x-npz", _unpack_arrays),
    ".nii.gz": Format("application/gzip", _unpack_gzip),
    ".html": Format("text/html", _unpack_page, text=True),
    **card.FORMATS,
    **checksums.FORMATS,
    **signature.FORMATS,
    **weights.FORMATS,
}


@dataclass(frozen=True)
class SharedAudit:
    """The part of an audit that may be released.

    Attributes:
        facts: its audit.json.
        folder: holds AUDIT_FILES.
    """

    facts: Mapping[str, Any]
    folder: Path


def build_package(  # eight parameters: what goes in, under which terms, and who signs have nothing in common
    target: Path,
    synthetic: PatchSet,
    audit: SharedAudit,
    terms: Terms,
    *,
    segmenter: Path | None = None,
    drawn_by: generator.TrainedSource | None = None,
    key: Path | None = None,
    identifiers: Identifiers = NOTHING,
) -> None:
    """Write the package to `target`, whole or not at all.

    Args:
        target: a new folder; its name is the package's.
        synthetic: the set; its metadata hold those of its card, `spacing_mm` and `spacing_varies` of the training scans.
        audit: of the set.
        terms: under which it is released.
        segmenter: models/unet/<model>, the U-net that was trained on the set, if it is to go along.
        drawn_by: the generator that drew the set, if it is to go along.
        key: an ed25519 private key to sign with.
        identifiers: names and paths that the package must not hold.

    Raises:
        InputError: the folder exists, its name is unusable, the U-net is of another set, or the package holds an identifier.
    """
    if not NAME.fullmatch(target.name):
        raise InputError(f"{target}: the name of a package is letters, digits, dots and dashes; name another")
    if target.exists():
        raise InputError(f"{target}: is there already; what was released is not changed, name another")
    if segmenter is not None:
        unet.refuse_other_unet(segmenter, synthetic)
    with whole_folder(target) as folder:
        _write_patches(folder, synthetic)
        if segmenter is not None:
            unet.write_unet(segmenter, folder)
        if drawn_by is not None:
            generator.write_generator(drawn_by, folder, synthetic.size, synthetic.meta["label_threshold"])
        (folder / "audit").mkdir()
        for name in AUDIT_FILES:
            (folder / "audit" / name).write_bytes(read_bytes(audit.folder / name, MOST_PAGE))
        facts = card_of(target.name, synthetic.meta, audit.facts, terms)
        write_json(folder / "card.json", facts)
        readme = readme_of(facts, with_unet=segmenter is not None, with_generator=drawn_by is not None)
        (folder / "README.md").write_text(readme, encoding="utf-8")
        (folder / "load.py").write_text(LOADER, encoding="utf-8")
        # The description holds the other files' digests, the final list that of the description too.
        write_checksums(folder)
        write_json(folder / "croissant.json", croissant_of(facts, data_files(folder)))
        write_checksums(folder)
        if key is not None:
            sign(folder, key)
        refuse_identifiers(folder, identifiers, FORMATS)


def open_package(folder: Path, trusted: Path | None, scratch: Path) -> tuple[PatchSet, IntensitySettings, str]:
    """Check a package against its checksums and unpack it.

    Args:
        folder: the package.
        trusted: the sender's public key.
        scratch: a folder for the unpacked arrays.

    Returns:
        Its pairs as a patch set in `scratch`, its intensity rule, and a line that says which checks passed.

    Raises:
        InputError: the package is incomplete, differs from its checksums, or is not signed by the trusted key.
    """
    checked = verify(folder, trusted)
    facts = read_json(folder / "card.json")
    try:
        intensity = IntensitySettings.model_validate(facts["intensity"])
        with packed_arrays(folder / "patches.npz", ("image", "label")) as pair:
            image, label = _unpacked(folder / "patches.npz", pair, scratch)
    except (OSError, ValueError, KeyError, TypeError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise InputError(f"{folder}: patches.npz or card.json is no package's; get it again") from error
    return PatchSet(image, label, np.full(len(image), "", np.str_), np.arange(len(image)), facts, scratch), intensity, checked


def _unpacked(path: Path, pair: tuple[PackedArray, ...], scratch: Path) -> tuple[ImagePatches, LabelPatches]:
    """Image and label as files in `scratch`, a block at a time: the set may be larger than the memory."""
    n, size = pair[0].shape[0] if pair[0].shape else 0, pair[0].shape[-1] if pair[0].shape else 0
    if any(array.dtype != np.uint8 or array.shape != (n, size, size) for array in pair):
        raise InputError(f"{path}: not pairs (n, x, y) of square 8-bit patches; get the package again")
    if not n or not size:
        raise InputError(f"{path}: no pairs, or labels other than 0 and 1; get the package again")
    scratch.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(scratch).free, 2 * n * size**2
    if free < needed:
        raise InputError(f"{path}: takes {needed / 1e9:.1f} GB in {scratch}, {free / 1e9:.1f} GB are free; free some space")
    arrays = create_patch_arrays(scratch, n, size)
    block = max(1, BLOCK // size**2)
    for packed, array, most in zip(pair, arrays, (255, 1), strict=True):
        for start in range(0, n, block):
            packed.read_into(array[start : start + block])
            if array[start : start + block].max() > most:
                raise InputError(f"{path}: no pairs, or labels other than 0 and 1; get the package again")
    return arrays


def _write_patches(folder: Path, synthetic: PatchSet) -> None:
    image, label = (np.ascontiguousarray(array[synthetic.rows]) for array in (synthetic.image, synthetic.label))
    np.savez_compressed(folder / "patches.npz", image=image, label=label)
    for name, stack in (("image", image), ("label", label)):
        _write_stacks(folder / "nifti", name, stack, synthetic.meta["spacing_mm"])


def _write_stacks(folder: Path, name: str, patches: np.ndarray[Any, Any], spacing_mm: Sequence[float]) -> None:
    """NIfTI files (x, y, n) of at most STACK patches; their headers are made anew and hold nothing but shape and voxel size."""
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(range(0, len(patches), STACK)):
        stack = np.moveaxis(patches[start : start + STACK], 0, 2)
        image = nib.Nifti1Image(np.ascontiguousarray(stack), np.diag([*spacing_mm, 1.0]))
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{name}-{number:02d}.nii.gz")


def data_files(folder: Path, formats: Mapping[str, Format] = FORMATS) -> dict[str, DataFile]:
    """The files that SHA256SUMS lists."""
    files = {}
    for line in read_text(folder / SUMS).splitlines():
        digest, name = line.split("  ", 1)
        known = format_of(name, formats)
        files[name] = DataFile(digest, (folder / name).stat().st_size, known.media_type if known else "application/octet-stream")
    return files
