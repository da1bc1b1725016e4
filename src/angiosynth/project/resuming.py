"""What a stage's resume files belong to: all that its result depends on.

What other data, settings or code left is never gone on with. The key holds what the stage's entry in dvc.yaml names, by content: settings,
patches, the whole split, the patients that score, start weights, and the code, with the libraries behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import angiosynth
from angiosynth.data.bids import Patient
from angiosynth.data.cohort import Split
from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace
from angiosynth.reading import file_digest
from angiosynth.runtime.progress import say
from angiosynth.settings import digest

CODE = Path(angiosynth.__file__).parent
# Of src/angiosynth, all code that dvc.yaml names for the stages that resume, tests/test_dependencies.py holds the two together. Where
# settings' defaults stand is not needed: their values are in the key. The last one knows how a resume file is laid out.
NAMED: tuple[str, ...] = ("arrays.py", "compute", "data", "evaluation", "generators", "metrics", "segmentation")
NAMED += tuple(f"stages/{name}.py" for name in ("select_unet", "train_generator", "train_unet", "transfer"))
LAYOUT = ("runtime/checkpoint.py",)
LIBRARIES = ("nibabel", "numpy", "scipy", "torch")
PATCH_FILES = (".csv", ".json", ".npy")  # of a set; its pictures are made from these


def resume_folder(
    home: Workspace,
    stage: str,
    facts: Mapping[str, Any],
    patches: Path,
    split: Split,
    scored: Sequence[Patient],
    weights: Sequence[Path] = (),
) -> Path:
    """Where the resume files of a stage lie. Says so where there are only some of another state.

    Args:
        home: the working folder.
        stage: its name, such as "train-generator-NAME".
        facts: its settings.
        patches: the patch set that is trained on.
        split: the site's.
        scored: the patients whose scans are looked at.
        weights: files that the training starts from.

    Raises:
        InputError: a file is missing.
    """
    known = asdict(split), [patient.id for patient in scored]
    key = digest(dict(facts), known, scans_digest(scored), _digest(_patch_files(patches)), _digest(weights), code_digest())
    folder = home.resume(stage, key)
    if folder.parent.is_dir() and not folder.exists() and any(folder.parent.iterdir()):
        say(f"{stage}: begins anew; {folder.parent} holds what other data, settings or code left, remove it if that is done with")
    return folder


def scans_digest(patients: Sequence[Patient]) -> str:
    """Sixteen hex digits over the patients' files: scan, brain mask, label."""
    whole = hashlib.sha256()
    for patient in patients:
        for path in (patient.image, patient.brain, patient.label):
            whole.update(_of_file(path) if path else hashlib.sha256().digest())
    return whole.hexdigest()[:16]


def code_digest() -> str:
    """Sixteen hex digits over the code that numbers come from, and the versions of the libraries that it rests on."""
    return digest(_digest(code_files()), {name: metadata.version(name) for name in LIBRARIES})


def code_files() -> list[Path]:
    """The source files that numbers come from."""
    named = [CODE / name for name in (*NAMED, *LAYOUT)]
    return [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def _patch_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix in PATCH_FILES)


def _digest(files: Iterator[Path] | Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.name.encode() + b"\0" + _of_file(path))
    return whole.hexdigest()


def _of_file(path: Path) -> bytes:
    try:
        digest_of_it: bytes = file_digest(path).digest()
        return digest_of_it
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to make it") from error
