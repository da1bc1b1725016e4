"""Write and read packages: folders with patches, image stacks, card, audit, loader and checksums."""

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
STACK = 10_000  # patches in a NIfTI file, whose axes are limited to 32,767
BLOCK = 1 << 24  # bytes to unpack at once
MOST_PAGE = 64 * MIB  # of the audit's page, which embeds its figures
PICTURE = re.compile(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
REFUSED = {
    "over": "the audit found a leak",
    "inconclusive": "the audit is inconclusive: it did not find leaks planted to test it",
    "too few patients": "there are too few patients for the audit to tell anything",
    "unclear": "the audit cannot tell a measure that passed its limit from chance",
}


def refusal(audit: Mapping[str, Any], set_digest: str, audit_digest: str) -> str:
    """Reason why a set may not be released without an override; "" if there is none.

    Args:
        audit: content of audit.json.
        set_digest: digest of the current set.
        audit_digest: digest of the current section `audit`.

    Raises:
        InputError: the audit belongs to another set, or to other settings or limits; there is no override for that.
    """
    model = audit.get("model", "MODEL")
    if audit.get("set_digest") != set_digest:
        raise InputError(f"audit/{model}: is of another set than the present one; run `dvc repro audit@{model}` first")
    if audit.get("audit_digest") != audit_digest:
        raise InputError(f"audit/{model}: was made with other settings or limits; run `dvc repro audit@{model}` first")
    return REFUSED.get(audit["verdicts"]["set"], "")


def _unpack_page(content: bytes) -> list[bytes]:
    """An HTML page without its embedded images, and the decoded images."""
    return [PICTURE.sub(b"", content), *(base64.b64decode(match, validate=True) for match in PICTURE.findall(content))]


def _unpack_gzip(content: bytes) -> list[bytes]:
    return [content, gzip.decompress(content)]


def _unpack_arrays(content: bytes) -> list[bytes]:
    """An .npz file, whose list of files is uncompressed, and its unpacked arrays."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if not all(name.endswith(".npy") for name in archive.namelist()):
            raise ValueError("holds other files than arrays")
        return [content, *(archive.read(name) for name in archive.namelist())]


# All formats of files in a package. Further formats are declared next to their writers and collected here.
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
    """Results of an audit that may be released.

    Attributes:
        facts: content of audit.json.
        folder: folder that contains AUDIT_FILES.
    """

    facts: Mapping[str, Any]
    folder: Path


def build_package(  # eight parameters: contents, terms and signing are independent of each other
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
    """Write a package atomically.

    Args:
        target: a new folder, whose name is that of the package.
        synthetic: the set; its metadata contain the card, and `spacing_mm` and `spacing_varies` of the training scans.
        audit: audit of the set.
        terms: terms of the release.
        segmenter: models/unet/<model>, the U-net trained on the set, to include it.
        drawn_by: the generator of the set, to include it.
        key: ed25519 private key for signing.
        identifiers: names and paths that the package must not contain.

    Raises:
        InputError: the folder exists, its name is invalid, the U-net belongs to another set, or the package contains an identifier.
    """
    if not NAME.fullmatch(target.name):
        raise InputError(f"{target}: the name of a package is letters, digits, dots and dashes; name another")
    if target.exists():
        raise InputError(f"{target}: is there already; what was released is not changed, name another")
    if segmenter is not None:
        unet.refuse_other_unet(segmenter, synthetic, audit.facts["set_digest"])
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
        # croissant.json contains the digests of the other files, and the final SHA256SUMS also that of croissant.json.
        write_checksums(folder)
        write_json(folder / "croissant.json", croissant_of(facts, data_files(folder)))
        write_checksums(folder)
        if key is not None:
            sign(folder, key)
        refuse_identifiers(folder, identifiers, FORMATS)


def open_package(folder: Path, trusted: Path | None, scratch: Path) -> tuple[PatchSet, IntensitySettings, str]:
    """Verify the checksums of a package and unpack it.

    Args:
        folder: folder of the package.
        trusted: public key of the sender.
        scratch: folder for the unpacked arrays.

    Returns:
        The pairs as a patch set in `scratch`, the intensity rule, and a message that states the passed checks.

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
    """Unpack image and label into files in `scratch`, block by block, since the set may be larger than the memory."""
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
    """Write NIfTI files (x, y, n) of at most STACK patches; their headers contain only shape and voxel size."""
    folder.mkdir(exist_ok=True)
    for number, start in enumerate(range(0, len(patches), STACK)):
        stack = np.moveaxis(patches[start : start + STACK], 0, 2)
        image = nib.Nifti1Image(np.ascontiguousarray(stack), np.diag([*spacing_mm, 1.0]))
        image.header.set_xyzt_units("mm")
        nib.save(image, folder / f"{name}-{number:02d}.nii.gz")


def data_files(folder: Path, formats: Mapping[str, Format] = FORMATS) -> dict[str, DataFile]:
    """Describe the files listed in SHA256SUMS."""
    files = {}
    for line in read_text(folder / SUMS).splitlines():
        digest, name = line.split("  ", 1)
        known = format_of(name, formats)
        files[name] = DataFile(digest, (folder / name).stat().st_size, known.media_type if known else "application/octet-stream")
    return files
