"""Folders of resume files, named by a key of everything on which the result of the stage depends.

Resume files of other data, settings or code are therefore never used. The key is a digest of the contents of all dependencies in dvc.yaml:
settings, patches, the whole split, the patients used for scoring, initial weights, the code, and the versions of its libraries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import angiosynth
from angiosynth.data.bids import Patient
from angiosynth.data.split import Split
from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace
from angiosynth.reading import file_digest
from angiosynth.runtime.progress import say
from angiosynth.segmentation.storage import UNET_FILES
from angiosynth.settings import REAL, Settings, digest

CODE = Path(angiosynth.__file__).parent
# Code dependencies in dvc.yaml of the stages that can be resumed (tests/test_dependencies.py compares the two). Modules with defaults of
# settings are not needed, since the key contains the values. LAYOUT determines the format of resume files.
NAMED: tuple[str, ...] = ("arrays.py", "compute", "data", "evaluation", "generators", "metrics", "phantom", "segmentation")
NAMED += tuple(f"stages/{name}.py" for name in ("select_unet", "train_generator", "train_unet", "transfer", "worth"))
LAYOUT = ("runtime/checkpoint.py",)
LIBRARIES = ("nibabel", "numpy", "scipy", "torch")
PATCH_FILES = (".csv", ".json", ".npy")  # files of a patch set, without pictures


@dataclass(frozen=True)
class TrainingInputs:
    """Everything on which the result of a training depends, except the code.

    Attributes:
        settings: settings of the training, by name.
        patches: folder of the training patches.
        split: split of the site.
        scored: patients whose scans select the weights or are scored.
        weights: files of initial weights.
        joined: folder of a set that is joined with the patches, if there is one.
    """

    settings: Mapping[str, Any]
    patches: Path
    split: Split
    scored: Sequence[Patient]
    weights: Sequence[Path] = ()
    joined: Path | None = None

    def key(self) -> str:
        """Return the digest of all inputs and the code, sixteen hex digits.

        Raises:
            InputError: a file is missing.
        """
        patients = asdict(self.split), [patient.id for patient in self.scored]
        sets = [self.patches] if self.joined is None else [self.patches, self.joined]
        files = scans_digest(self.scored), *(files_digest(_patch_files(folder)) for folder in sets), files_digest(self.weights)
        return digest(dict(self.settings), patients, *files, code_digest())


def resume_folder(home: Workspace, stage: str, inputs: TrainingInputs) -> Path:
    """Return the folder of a stage's resume files. Prints a message if only resume files of other inputs or code exist.

    Args:
        home: the workspace.
        stage: name of the stage, such as "train-generator-NAME".
        inputs: inputs of the training.

    Raises:
        InputError: a file of the inputs is missing.
    """
    folder = home.resume(stage, inputs.key())
    if folder.parent.is_dir() and not folder.exists() and any(folder.parent.iterdir()):
        say(f"{stage}: begins anew; {folder.parent} holds what other data, settings or code left, remove it if that is done with")
    return folder


def references_digest(settings: Settings, home: Workspace, split: Split) -> str:
    """Return the digest of everything on which the generator-independent results of audits depend, sixteen hex digits.

    Raises:
        InputError: a file is missing.
    """
    source = settings.cohort.source
    held_out = home.patients(settings, source, split.held_out)
    predicted = [home.predictions(REAL) / f"{patient.id}.nii.gz" for patient in held_out if patient.label is None]
    files = [home.cohort(source), *predicted, *(home.unet(REAL) / name for name in UNET_FILES)]
    sections = settings.audit, settings.patches, settings.generator_defaults, settings.cohort.intensity
    code = code_digest(("privacy", "stages/audit_references.py"))
    return digest(*sections, asdict(split), files_digest(files), files_digest(_patch_files(home.patches(source))), code)


def scans_digest(patients: Sequence[Patient]) -> str:
    """Return the digest of the patients' files (scan, brain mask, label), sixteen hex digits."""
    combined = hashlib.sha256()
    for patient in patients:
        for path in (patient.image, patient.brain, patient.label):
            combined.update(_file_sha256(path) if path else hashlib.sha256().digest())
    return combined.hexdigest()[:16]


def code_digest(more: Sequence[str] = ()) -> str:
    """Return the digest of the code that computes results, of `more` named code, and of library versions; sixteen hex digits."""
    return digest(files_digest(code_files(more)), {name: metadata.version(name) for name in LIBRARIES})


def code_files(more: Sequence[str] = ()) -> list[Path]:
    """Return the source files that compute results, and those of `more`, names relative to the package."""
    named = [CODE / name for name in (*NAMED, *LAYOUT, *more)]
    return [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def _patch_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix in PATCH_FILES)


def files_digest(files: Iterator[Path] | Sequence[Path]) -> str:
    """Return the digest of names and contents of files. Raises InputError if one cannot be read."""
    combined = hashlib.sha256()
    for path in files:
        combined.update(path.name.encode() + b"\0" + _file_sha256(path))
    return combined.hexdigest()


def _file_sha256(path: Path) -> bytes:
    try:
        sha256: bytes = file_digest(path).digest()
        return sha256
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to make it") from error
