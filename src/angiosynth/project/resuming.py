"""The folder of a stage's resume files, by a key over everything that the stage's result depends on.

Files that other data, settings or code left are never resumed from. The key is over the contents of all that the stage's
entry in dvc.yaml names: settings, patches, the whole split, the patients that score, start weights, and the code, with its libraries.
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
# The code in src/angiosynth that dvc.yaml names for the stages that resume (tests/test_dependencies.py compares the two). Modules with the
# defaults of settings are not needed: the values are in the key. LAYOUT defines the format of a resume file.
NAMED: tuple[str, ...] = ("arrays.py", "compute", "data", "evaluation", "generators", "metrics", "phantom", "segmentation")
NAMED += tuple(f"stages/{name}.py" for name in ("select_unet", "train_generator", "train_unet", "transfer", "worth"))
LAYOUT = ("runtime/checkpoint.py",)
LIBRARIES = ("nibabel", "numpy", "scipy", "torch")
PATCH_FILES = (".csv", ".json", ".npy")  # of a set; its pictures are made from these


@dataclass(frozen=True)
class TrainingInputs:
    """Everything that a training's result depends on, beside the code.

    Attributes:
        settings: those that it uses, by name.
        patches: the patch set that is trained on.
        split: the site's.
        scored: the patients whose scans choose the weights or are scored.
        weights: files that the training starts from.
    """

    settings: Mapping[str, Any]
    patches: Path
    split: Split
    scored: Sequence[Patient]
    weights: Sequence[Path] = ()

    def key(self) -> str:
        """Sixteen hex digits over all of them and the code.

        Raises:
            InputError: a file is missing.
        """
        patients = asdict(self.split), [patient.id for patient in self.scored]
        files = scans_digest(self.scored), _digest(_patch_files(self.patches)), _digest(self.weights)
        return digest(dict(self.settings), patients, *files, code_digest())


def resume_folder(home: Workspace, stage: str, inputs: TrainingInputs) -> Path:
    """The folder of a stage's resume files. Prints a line if the existing ones are all of other inputs or code.

    Args:
        home: the working folder.
        stage: its name, such as "train-generator-NAME".
        inputs: of its training.

    Raises:
        InputError: a file of the inputs is missing.
    """
    folder = home.resume(stage, inputs.key())
    if folder.parent.is_dir() and not folder.exists() and any(folder.parent.iterdir()):
        say(f"{stage}: begins anew; {folder.parent} holds what other data, settings or code left, remove it if that is done with")
    return folder


def references_digest(settings: Settings, home: Workspace, split: Split) -> str:
    """Sixteen hex digits over all that an audit's results depend on which no generator has a part in.

    Raises:
        InputError: a file is missing.
    """
    source = settings.cohort.source
    held_out = home.patients(settings, source, split.held_out)
    predicted = [home.predictions(REAL) / f"{patient.id}.nii.gz" for patient in held_out if patient.label is None]
    files = [home.cohort(source), *predicted, *(home.unet(REAL) / name for name in UNET_FILES)]
    sections = settings.audit, settings.patches, settings.generator_defaults, settings.cohort.intensity
    code = code_digest(("privacy", "stages/audit_references.py"))
    return digest(*sections, asdict(split), _digest(files), _digest(_patch_files(home.patches(source))), code)


def scans_digest(patients: Sequence[Patient]) -> str:
    """Sixteen hex digits over the patients' files: scan, brain mask, label."""
    whole = hashlib.sha256()
    for patient in patients:
        for path in (patient.image, patient.brain, patient.label):
            whole.update(_file_sha256(path) if path else hashlib.sha256().digest())
    return whole.hexdigest()[:16]


def code_digest(more: Sequence[str] = ()) -> str:
    """Sixteen hex digits over the code that computes results, more of it by name, and the versions of the libraries that it uses."""
    return digest(_digest(code_files(more)), {name: metadata.version(name) for name in LIBRARIES})


def code_files(more: Sequence[str] = ()) -> list[Path]:
    """The source files that compute results."""
    named = [CODE / name for name in (*NAMED, *LAYOUT, *more)]
    return [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def _patch_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.iterdir()) if path.suffix in PATCH_FILES)


def _digest(files: Iterator[Path] | Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        whole.update(path.name.encode() + b"\0" + _file_sha256(path))
    return whole.hexdigest()


def _file_sha256(path: Path) -> bytes:
    try:
        sha256: bytes = file_digest(path).digest()
        return sha256
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); run `dvc repro` to make it") from error
