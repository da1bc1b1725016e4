"""Files that become far larger than they are, or that break what reads them: each is refused by one line, in less than 200 MB.

Neighbours: every place where a length, a number or a depth is declared (headers, offsets, list of an archive, shapes, widths, digits,
nesting, keys, encodings), declared too large, too small, negative, contradictory, or honestly beyond what is read.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from angiosynth.release.checksums import write_checksums
from tests.security.fuzz import make_sound
from tests.security.measured import Answer, measure

pytestmark = pytest.mark.waits

nib: Any = nibabel
SOUND = "sound: "
MOST_GROWN = 200 << 20
MANY = 16 << 20  # zeros, which pack to 16 kB


def header(shape: tuple[int, ...] = (10, 10, 10), kind: Any = np.uint8, offset: float | None = None, two: bool = False) -> bytes:
    """A NIfTI header with the 4 bytes behind it; dimensions may be any that its field holds."""
    made = nib.Nifti2Header() if two else nib.Nifti1Header()
    made.set_data_dtype(kind)
    made.set_sform(np.diag([0.8, 0.9, 1.1, 1.0]), code=1)
    made["pixdim"][1:4] = (0.8, 0.9, 1.1)
    made["dim"][: len(shape) + 1] = (len(shape), *shape)
    made["vox_offset"] = (544 if two else 352) if offset is None else offset
    return bytes(made.binaryblock) + bytes(4)


def one_stream(start: bytes, times: int) -> bytes:
    """A gzip file of one part that unpacks to `start` and `times` MANY zeros; made from the same packed block over and over."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MANY)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * times


ZEROS = gzip.compress(bytes(MANY))
EMPTY = gzip.compress(b"")
VOXELS = np.random.default_rng(0).integers(0, 255, 1000, np.uint8).tobytes()
SCANS: dict[str, bytes] = {
    "one stream of 1.6 GB": one_stream(header(), 100),
    "one stream of 64 MB": one_stream(header(), 4),
    "a hundred parts of zeros": gzip.compress(header() + VOXELS) + ZEROS * 100,
    "a hundred parts before the header": ZEROS * 100,
    "many empty parts behind": gzip.compress(header() + VOXELS) + EMPTY * 100_000,
    "many empty parts before": EMPTY * 100_000 + gzip.compress(header() + VOXELS),
    "a name without an end": b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (2 << 20),
    "garbage behind the part": gzip.compress(header() + VOXELS) + b"garbage",
    "a packed bomb within": gzip.compress(ZEROS),
    "more than declared, unpacked": header() + bytes(1000 + (1 << 20)),
    "10^15 elements, packed": gzip.compress(header((100_000,) * 3, two=True) + VOXELS),
    "10^15 elements": header((100_000,) * 3, two=True) + VOXELS,
    "a product beyond 64 bits": header((2**62, 4, 1), two=True) + VOXELS,
    "a product of zero modulo 2^64": header((2**32, 2**32, 1), two=True) + VOXELS,
    "a negative length": header((-10, -10, 10)) + VOXELS,
    "all lengths negative": header((-10, -10, -10)) + VOXELS,
    "no axes": header(()) + VOXELS,
    "honest, beyond what is read": one_stream(header((1024, 1024, 320)), 20),
    "honest, in doubles": one_stream(header((32767, 32767, 1), np.float64), 20),
    "an offset of a GB, packed": one_stream(header(offset=1e9), 60),
    "an offset of 10^30": header(offset=1e30) + VOXELS,
    "an offset of infinity": header(offset=float("inf")) + VOXELS,
    "an offset of 2^62": header(offset=2**62, two=True) + VOXELS,
    "a negative offset": header(offset=-352) + VOXELS,
    "an offset within the header": header(offset=16) + VOXELS,
    "cut within the packed header": gzip.compress(header())[:40],
    "a wrong checksum": gzip.compress(header() + VOXELS)[:-8] + bytes(8),
}
DEEP = "[" * 100_000
JSONS: dict[str, bytes] = {
    "deep lists": DEEP.encode(),
    "deep lists that end": (DEEP + "]" * 100_000).encode(),
    "deep mappings": ('{"a":' * 50_000).encode(),
    "nested as deep as Python follows": ("[" * 400 + "]" * 400).encode(),
    "5,000 digits": b'{"width": ' + b"9" * 5000 + b"}",
    "400 digits": b'{"width": ' + b"9" * 400 + b"}",
    "1e999": b'{"width": 1e999}',
    "NaN": b'{"width": NaN}',
    "minus infinity": b'{"width": -Infinity}',
    "a key twice": b'{"width": 2, "width": 3}',
    "half a surrogate pair": b'{"a": "\\ud800"}',
    "half a surrogate pair as a key": b'{"\\ud800": 1}',
    "half a surrogate pair alone": b'"\\ud800"',
    "a byte order mark": b'\xef\xbb\xbf{"width": 2}',
    "UTF-16": '{"width": 2}'.encode("utf-16"),
    "no UTF-8": b'{"width": "\xff"}',
    "a million lists": b"[" + b"[]," * 2_000_000 + b"[]]",
    "NULs": bytes(1000),
    "nothing": b"",
}
YAMLS: dict[str, bytes] = {
    "deep flow": b"[" * 60_000,
    "deep mappings": b"{a: " * 20_000,
    "deep blocks": b"".join(b" " * depth + b"a:\n" for depth in range(400)),
    "deep dashes": b"- " * 50_000,
    "5,000 digits": b"phantom: {seed: " + b"9" * 5000 + b"}",
    "hexadecimal": b"phantom: {seed: 0x" + b"f" * 60_000 + b"}",
    "sexagesimal": b"phantom: {seed: 1" + b":59" * 30_000 + b"}",
    "1e999": b"phantom: {seed: 1e999}",
    "infinity": b"phantom: {seed: .inf}",
    "aliases": b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9) if n else b"x") for n in range(12)),
    "itself": b"phantom: &a [*a]",
    "itself as a mapping": b"&a {phantom: *a}",
    "a wrong truth value": b"phantom: !!bool maybe",
    "a wrong number": b"phantom: !!int many",
    "an empty number": b'phantom: !!int ""',
    "a wrong time": b"phantom: !!timestamp soon",
    "a thirteenth month": b"phantom: 2024-13-01",
    "an object of Python": b"phantom: !!python/object/apply:os.system [true]",
    "a list as a key": b"? [a]\n: 1",
    "a merge of nothing": b"<<: 3",
    "a key twice": b"phantom: 1\nphantom: 2\n",
    "a key of 100 kB": b"x" * 100_000 + b": 1\n",
    "a key of 100 kB in a section": b"phantom: {" + b"x" * 100_000 + b": 1}\n",
    "too long": b"# long\n" * 40_000,
    "UTF-16": "phantom: 1".encode("utf-16"),
    "NULs": bytes(1000),
}
TABLES: dict[str, bytes] = {
    "a million columns": b"scan" + b"," * 1_000_000 + b"\n",
    "a row of a million cells": b"scan\n" + b"a," * 1_000_000 + b"\n",
    "200,000 rows": b"scan\n" + b"a\n" * 200_000,
    "a cell of 200 kB": b"scan\n" + b"x" * 200_000,
    "an open quote": b'scan\n"' + b"x\n" * 200_000,
    "NULs": b"scan\na\0b\n",
    "a line of 9 MB": b"scan\n" + b"x" * 9_000_000,
    "UTF-16": "scan\na\n".encode("utf-16"),
}
FACTS: dict[str, Any] = {
    "width": [600, 1024, 4, 0, -3, 10**9, True, "2", 2.5, None, [2]],
    "dropout": [1.0, -0.1, "0", True],
    "mean": [1e300, -2, "0", None, True],
    "deviation": [0, -0.5, 1e-320, 1e300, None],
    "precision": ["float64", 32, None],
    "intensity": [{"low": 5, "high": 1}, {"low": 1, "other": 2}, 3, {"rule": "none"}],
    "seed": [-1, 1.5, "1", 10**30],
    "val_dsc": [2, -1, "high"],
}


def huge(path: Path) -> Path:
    """A file of 20 GB that takes no space on the disk."""
    path.touch()
    os.truncate(path, 20 << 30)
    return path


def npz(path: Path, members: dict[str, bytes], packed: bool = True) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def array(shape: tuple[int, ...], content: bytes = b"", kind: str = "|u1") -> bytes:
    """An .npy file that declares a shape, whatever is in it."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def declared(path: Path, size: int) -> None:
    """Let an archive's list say that each of its members unpacks to so many bytes."""
    data, at = bytearray(path.read_bytes()), -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)


def zeros(path: Path) -> None:
    whole = array((4_000, 96, 96), bytes(4_000 * 96 * 96))  # 37 MB each, honestly
    npz(path, {"image.npy": whole, "label.npy": whole})


def lying(path: Path, size: int) -> None:
    small = array((402_653, 96, 96), bytes(1 << 20))
    npz(path, {"image.npy": small, "label.npy": small})
    declared(path, size)


def many_entries(path: Path) -> None:
    npz(path, {f"{number}.npy": b"" for number in range(300)})


def doubled(path: Path) -> None:
    npz(path, {"image.npy": PAIR, "label.npy": PAIR})
    path.write_bytes(path.read_bytes().replace(b"label.npy", b"image.npy"))


PAIR = array((2, 16, 16), bytes(512))
PACKAGES: dict[str, Callable[[Path], object]] = {
    "honest zeros": zeros,
    "3.7 GB by its list": lambda path: lying(path, 3_710_850_048 + 66),
    "a GB by its list": lambda path: lying(path, 1 << 30),
    "a shape beyond its length": lambda path: npz(path, {"image.npy": array((402_653, 96, 96), bytes(512)), "label.npy": PAIR}),
    "a shape beyond 64 bits": lambda path: npz(path, {"image.npy": array((2**40, 2**40, 2**40)), "label.npy": PAIR}),
    "a negative shape": lambda path: npz(path, {"image.npy": array((-2, 16, 16), bytes(512)), "label.npy": PAIR}),
    "no axes": lambda path: npz(path, {"image.npy": array((), b"1"), "label.npy": array((), b"1")}),
    "patches without pixels": lambda path: npz(path, {"image.npy": array((9, 0, 0)), "label.npy": array((9, 0, 0))}),
    "objects": lambda path: npz(path, {"image.npy": array((2, 16, 16), bytes(4096), "|O"), "label.npy": PAIR}),
    "floats": lambda path: npz(path, {"image.npy": array((2, 16, 16), np.full(512, np.nan, "<f8").tobytes(), "<f8"), "label.npy": PAIR}),
    "other sizes": lambda path: npz(path, {"image.npy": array((2, 8, 32), bytes(512)), "label.npy": PAIR}),
    "labels of 2": lambda path: npz(path, {"image.npy": PAIR, "label.npy": array((2, 16, 16), b"\2" * 512)}),
    "labels of 255": lambda path: npz(path, {"image.npy": PAIR, "label.npy": array((2, 16, 16), b"\xff" * 512)}),
    "an endless header": lambda path: npz(path, {"image.npy": array((1,) * 20_000), "label.npy": PAIR}),
    "nested header": lambda path: npz(path, {"image.npy": PAIR.replace(b"(2, 16, 16)", b"(" * 500), "label.npy": PAIR}),
    "many entries": many_entries,
    "another name": lambda path: npz(path, {"image.npy": PAIR, "labels.npy": PAIR}),
    "a third array": lambda path: npz(path, {"image.npy": PAIR, "label.npy": PAIR, "more.npy": PAIR}),
    "an entry twice": doubled,
    "no archive": lambda path: path.write_bytes(b"PK\x05\x06" * 1000),
    "nothing": lambda path: path.write_bytes(b""),
}


def _cases(folder: Path) -> dict[str, tuple[str, Path]]:
    """All of the above as files."""
    cases: dict[str, tuple[str, Path]] = {}
    sound = folder / "sound"
    sound.mkdir()
    make_sound(sound)
    cases |= _sound(sound)  # first: what these take counts for no bomb
    for number, (name, content) in enumerate(SCANS.items()):
        path = folder / f"scan-{number}.nii.gz"
        path.write_bytes(content)
        cases |= {f"{kind}: {name}": (kind, path) for kind in ("scan", "mask", "import")}
    cases["scan: 20 GB on disk"] = "scan", huge(folder / "huge.nii.gz")
    named: tuple[tuple[str, str, dict[str, bytes], str], ...] = (
        ("json", "json", JSONS, ".json"),
        ("split", "split", JSONS, ".json"),
        ("settings", "settings", YAMLS, ".yaml"),
        ("table", "table", TABLES, ".csv"),
        ("scores", "scores", TABLES, ".csv"),
    )
    for kind, reader, contents, ending in named:
        for number, (name, content) in enumerate(contents.items()):
            path = folder / f"{kind}-{number}{ending}"
            path.write_bytes(content)
            cases[f"{kind}: {name}"] = reader, path
        cases[f"{kind}: 20 GB"] = reader, huge(folder / f"huge-{kind}{ending}")
    for number, (name, spoil) in enumerate(PACKAGES.items()):
        package = shutil.copytree(sound / "package", folder / f"package-{number}")
        spoil(package / "patches.npz")
        write_checksums(package)
        cases[f"package: {name}"] = "package", package
    package = shutil.copytree(sound / "package", folder / "package-huge")
    huge(package / "more.bin")
    with (package / "SHA256SUMS").open("a") as stream:
        stream.write(f"{'0' * 64}  more.bin\n")
    cases["package: 20 GB that its list names"] = "package", package
    return cases | _unets(folder, sound) | _sets(folder, sound)


def _sound(folder: Path) -> dict[str, tuple[str, Path]]:
    """Sound files of each kind, and scans with what is odd and does no harm."""
    (folder / "parts.nii.gz").write_bytes(b"".join(gzip.compress(part) for part in (header(), VOXELS[:500], VOXELS[500:])) + bytes(512))
    (folder / "filled.nii").write_bytes(header() + VOXELS + bytes(1 << 16))
    (folder / "extended.nii.gz").write_bytes(gzip.compress(header(offset=1 << 20) + bytes((1 << 20) - 352) + VOXELS))
    places = {"scan": "scan.nii", "mask": "mask.nii", "package": "package", "settings": "params.yaml", "table": "table.csv"}
    places |= {"scores": "scores.csv", "json": "site-a.json", "split": "site-a.json", "unet": "unet", "facts": "unet", "set": "set"}
    cases = {f"{SOUND}{kind}": (kind, folder / name) for kind, name in places.items()}
    return cases | {f"{SOUND}{name}": ("scan", folder / name) for name in ("parts.nii.gz", "filled.nii", "extended.nii.gz")}


def _unets(folder: Path, sound: Path) -> dict[str, tuple[str, Path]]:
    cases: dict[str, tuple[str, Path]] = {}
    values = [(key, value) for key, several in FACTS.items() for value in several]
    contents = {f"{key} {value!r}": json.dumps({**_facts(sound), key: value}).encode() for key, value in values} | JSONS
    for number, (name, content) in enumerate(contents.items()):
        unet = shutil.copytree(sound / "unet", folder / f"unet-{number}")
        (unet / "unet.json").write_bytes(content)
        cases[f"unet.json: {name}"] = "unet", unet
    weights = torch.load(sound / "unet" / "unet.pt", weights_only=True)
    for number, (name, spoil) in enumerate(_spoilt_weights(weights).items()):
        unet = shutil.copytree(sound / "unet", folder / f"weights-{number}")
        spoil(unet / "unet.pt")
        cases[f"unet.pt: {name}"] = "unet", unet
    return cases


def _facts(sound: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((sound / "unet" / "unet.json").read_text())
    return found


def _spoilt_weights(weights: dict[str, Any]) -> dict[str, Callable[[Path], object]]:
    def repacked(path: Path) -> None:
        buffer = io.BytesIO()
        torch.save({**weights, "more": torch.zeros(8 << 18)}, buffer)
        with zipfile.ZipFile(buffer) as old:
            npz(path, {name: old.read(name) for name in old.namelist()})

    def renumbered(path: Path) -> None:
        with zipfile.ZipFile(path) as old:
            members = {name: old.read(name) for name in old.namelist()}
        npz(path, {name: data.replace(b"K\x02", b"K\x7f") for name, data in members.items()}, packed=False)

    return {
        "8 MB packed to nothing": repacked,
        "other counts": renumbered,
        "20 GB": huge,
        "the old format": lambda path: torch.save(weights, path, _use_new_zipfile_serialization=False),
        "many entries": many_entries,
    }


def _sets(folder: Path, sound: Path) -> dict[str, tuple[str, Path]]:
    spoilt = {
        "a shape beyond the file": ("image.npy", array((402_653, 96, 96), bytes(512))),
        "a shape beyond 64 bits": ("image.npy", array((2**40, 2**40, 2**40))),
        "objects": ("label.npy", array((12, 16, 16), bytes(12 * 256 * 8), "|O")),
        "a longer file": ("label.npy", (sound / "set" / "label.npy").read_bytes() + b"1"),
        "an index of a million rows": ("index.csv", b"patient\n" + b"sub-01\n" * 1_000_000),
        "an index of one long row": ("index.csv", b"patient" + b"," * 3000),
        "a deep description": ("set.json", JSONS["deep lists"]),
    }
    cases: dict[str, tuple[str, Path]] = {}
    for number, (name, (file, content)) in enumerate(spoilt.items()):
        made = shutil.copytree(sound / "set", folder / f"set-{number}")
        (made / file).write_bytes(content)
        cases[f"set: {name}"] = "set", made
    return cases


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Answer, int]]:
    """Name -> path, answer, and how far the process grew in reading it; all are read in one process."""
    cases = _cases(tmp_path_factory.mktemp("bombs"))
    found = measure(cases)
    grown = [0, *(answer.grown for answer in found.values())]
    return {name: (cases[name][1], found[name], after - before) for name, before, after in zip(found, grown, grown[1:], strict=False)}


def test_every_bomb_is_refused_by_one_line_that_names_the_file(answers: dict[str, tuple[Path, Answer, int]]) -> None:
    assert len(answers) > 200
    wrong = {
        name: answer
        for name, (path, answer, _) in answers.items()
        if not name.startswith(SOUND)
        and (answer.raised or str(path) not in answer.refused or "\n" in answer.refused or len(answer.refused) > len(str(path)) + 300)
    }
    assert not wrong


def test_no_bomb_takes_much_memory(answers: dict[str, tuple[Path, Answer, int]]) -> None:
    assert {name: grown >> 20 for name, (_, _, grown) in answers.items() if grown > MOST_GROWN} == {}


def test_sound_files_of_each_kind_are_read(answers: dict[str, tuple[Path, Answer, int]]) -> None:
    sound = {name: (answer.refused, answer.raised) for name, (_, answer, _) in answers.items() if name.startswith(SOUND)}
    assert len(sound) == 14
    assert sound == {name: ("", "") for name in sound}
