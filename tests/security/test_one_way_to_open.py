"""No module opens or parses files from outside in its own way, round the limits of angiosynth.reading and what rests on it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "angiosynth"
# Calls by the last two parts of their name: methods of any object by the last one alone.
METHODS = {"read_text", "read_bytes", "open", "YAML"}
FUNCTIONS = {
    *("json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.full_load", "yaml.compose", "yaml.safe_load_all"),
    *("np.load", "np.loadtxt", "np.genfromtxt", "np.fromfile", "np.memmap", "nib.load", "nibabel.load", "torch.load", "os.open"),
    *("gzip.open", "gzip.decompress", "gzip.GzipFile", "zlib.decompress", "zlib.decompressobj", "bz2.open", "lzma.open"),
    *("zipfile.ZipFile", "tarfile.open", "pickle.load", "pickle.loads", "csv.reader", "csv.DictReader", "pd.read_csv", "Image.open"),
    *("pydicom.dcmread", "pydicom.read_file", "sitk.ReadImage"),
    *("hashlib.file_digest", "shutil.copyfile", "shutil.copy", "shutil.copytree", "shutil.copyfileobj", "io.open"),
}
# Module -> calls that it may make, and why.
ALLOWED: dict[str, tuple[set[str], str]] = {
    "reading": ({"os.open", "json.loads", "csv.DictReader"}, "the one way itself"),
    "settings/yaml_text": ({"YAML"}, "the one way for YAML: a safe loader with limits"),
    "runtime/unpacking": ({"zlib.decompressobj"}, "the one way for gzip: as much as is asked for"),
    "runtime/archives": ({"zipfile.ZipFile", "np.memmap", "open"}, "the one way for archives and arrays, after their lists and headers"),
    "runtime/checkpoint": ({"torch.load", "open"}, "the one way for weights, and this project's own resume files; open writes"),
    "runtime/output": ({"open", "read_text", "shutil.copytree"}, "writes; /proc/self/mountinfo; this project's own folders"),
    "runtime/machine": ({"read_text"}, "files of the system: /proc and control groups"),
    "runtime/handover": ({"os.open"}, "a folder, by which a socket in it is named; reads nothing"),
    "runtime/leftovers": ({"os.open"}, "takes locks, opened without blocking; reads nothing"),
    "importing/tables": ({"csv.reader"}, "of a text that read_bytes has limited"),
    "data/patches": ({"open"}, "writes index.csv"),
    "data/readers/dicom": ({"pydicom.dcmread"}, "of bytes that read_bytes has limited"),
    "data/mapped_scans": ({"np.memmap"}, "maps what it has just written, in a file without a name"),
    "runtime/mapped": ({"open", "np.memmap"}, "the same"),
    "data/copies": ({"open", "np.load"}, "writes and reads what the stage cohort itself has kept of scans"),
    "segmentation/invocations": ({"json.loads"}, "of a body whose length and letters have been looked at"),
    "tracking/artifacts": ({"os.open", "open", "shutil.copyfileobj"}, "the one way for files of runs: ordinary ones of bounded size"),
    "importing/pseudonyms": ({"open"}, "writes the table of names"),
    "phantom/drawing": ({"open"}, "writes participants.tsv"),
    "evaluation/patients": ({"open"}, "writes tables"),
    "project/workspace": ({"open"}, "writes curves"),
    "privacy/references": ({"np.load"}, "reads what stage audit-references itself has kept of patches"),
    "project/new_project": ({"shutil.copytree"}, "copies this package's own modules"),
    "project/params": ({"YAML"}, "of a text that load_settings has accepted"),
    "generators/storage": ({"shutil.copyfile"}, "copies weights that this training has just written"),
    "stages/train_unet": ({"shutil.copytree"}, "copies folders that this training has just written"),
    "release/card": ({"json.loads"}, "unpacks a package that was made a moment before, to search it"),
    "release/package": ({"gzip.decompress", "zipfile.ZipFile"}, "the same"),
    "exports/receivers/scale_scan": (
        {"nib.load", "json.loads", "read_text"},
        "a receiver's program on the receiver's scans, never run here",
    ),
    "exports/receivers/generate": ({"json.loads", "read_text"}, "a receiver's program on the export that it lies in, never run here"),
    "exports/programs": ({"zipfile.ZipFile"}, "a program that was written a moment before, to search it"),
    "exports/bids": ({"open"}, "writes participants.tsv"),
    "exports/huggingface": ({"Image.open"}, "pictures that were encoded a moment before, to search them"),
    "search/space": ({"json.loads"}, "what this project wrote into its own database"),
    "search/results": ({"open"}, "writes trials.csv"),
    "verbs/doctor": ({"json.loads"}, "two settings of DVC, printed by a process that it has started"),
    "tracking/lineage": ({"open"}, "takes a lock"),
    "tracking/outbox": ({"open", "read_text", "shutil.copytree", "shutil.copyfile"}, "what runs of this project keep for their server"),
    "tracking/journal": ({"open", "read_text", "json.loads"}, "what runs of this project keep for their server"),
}


def calls_of(text: str) -> Iterator[tuple[int, str]]:
    """Every call of METHODS and FUNCTIONS, by line and name."""
    for node in ast.walk(ast.parse(text)):
        name = node.func if isinstance(node, ast.Call) else None
        if isinstance(name, ast.Name) and name.id in {"open", "YAML"}:
            yield name.lineno, name.id
        if isinstance(name, ast.Attribute):
            owner = name.value.attr if isinstance(name.value, ast.Attribute) else name.value.id if isinstance(name.value, ast.Name) else ""
            if f"{owner}.{name.attr}" in FUNCTIONS:
                yield name.lineno, f"{owner}.{name.attr}"
            elif name.attr in METHODS:
                yield name.lineno, name.attr


def strangers(module: str, text: str) -> list[str]:
    """The calls of a module that are not ALLOWED."""
    allowed = ALLOWED.get(module, (set(), ""))[0]
    return [f"{module}:{line}: {name}: read it by angiosynth.reading" for line, name in calls_of(text) if name not in allowed]


def _modules() -> dict[str, str]:
    return {path.relative_to(SOURCE).with_suffix("").as_posix(): path.read_text() for path in sorted(SOURCE.rglob("*.py"))}


def test_every_module_reads_files_in_the_one_way() -> None:
    found = [line for module, text in _modules().items() for line in strangers(module, text)]
    assert not found, "\n".join(found)


def test_what_is_allowed_is_done() -> None:
    texts = _modules()
    unused = {module: calls - {name for _, name in calls_of(texts[module])} for module, (calls, _) in ALLOWED.items()}
    assert {module: calls for module, calls in unused.items() if calls} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import json\njson.loads(text)",
        "import json\ndef f(p):\n    with open(p) as s:\n        return 1",
        "x = Path('a').read_text()",
        "x = (folder / name).read_bytes()",
        "with path.open('rb') as s: pass",
        "import numpy as np\nnp.load(p)",
        "import yaml\nyaml.safe_load(s)",
        "from ruamel.yaml import YAML\nYAML(typ='safe').load(s)",
        "import ruamel.yaml\nruamel.yaml.YAML().load(s)",
        "nib.load(p)",
        "import zipfile\nzipfile.ZipFile(p)",
        "torch.load(p, weights_only=True)",
        "gzip.decompress(b)",
        "hashlib.file_digest(s, 'sha256')",
    ],
)
def test_a_planted_way_round_is_found(text: str) -> None:
    assert strangers("data/nifti", text)
