"""Paths of a project: folders and files that stages read and write."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from angiosynth.data.bids import Patient, find_patients
from angiosynth.data.intensity import Scan, load_scan
from angiosynth.data.mapped_scans import mapped_scans
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.evaluation.summary import over_seeds
from angiosynth.reading import file_digest
from angiosynth.runtime.output import read_json, whole_file
from angiosynth.runtime.tables import write_table
from angiosynth.segmentation.facts import read_facts
from angiosynth.settings import REAL, SelectionSettings, Settings, UnetSettings
from angiosynth.settings.checks import PHANTOM
from angiosynth.tracking.runs import DataSource

SEED = "seed-"
RUN = "run.txt"  # resume file with the id of the MLflow run in which a killed stage continues
CHOSEN = tuple(SelectionSettings.model_fields)  # settings of the U-net that select-unet selects


@dataclass(frozen=True)
class Workspace:
    """Folders of a project. A trial of a sweep writes to a separate `root` and reads scans and patches from `data_root`."""

    root: Path = Path()
    data_root: Path = Path()

    @property
    def splits(self) -> Path:
        return self.data_root / "splits"

    def cohort(self, site: str) -> Path:
        """Return the entries of a site's patients, written by stage cohort."""
        return self.data_root / "data" / "cohort" / f"{site}.json"

    def patches(self, site: str) -> Path:
        return self.data_root / "data" / "patches" / site

    def voters(self, site: str) -> Path:
        """Patches of training patients and voters, cut without labels; only made if the split has voters."""
        return self.patches(site) / "voters"

    def generator(self, model: str) -> Path:
        return self.root / "models" / "generators" / model

    def synthetic(self, model: str) -> Path:
        return self.root / "data" / "synthetic" / model

    def training_patches(self, settings: Settings, data: str) -> Path:
        """Training patch set of the U-net named `data`."""
        return self.patches(settings.cohort.source) if data == REAL else self.synthetic(data)

    def real_patches(self, settings: Settings, patients: Sequence[str]) -> PatchSet:
        """Open the real patches of some training patients of the source."""
        return open_patch_set(self.patches(settings.cohort.source)).of_patients(patients)

    def unet(self, data: str) -> Path:
        return self.root / "models" / "unet" / data

    @property
    def labelling_unet(self) -> Path:
        """The U-net on real patches that labels synthetic sets; a trial of a sweep, which trains none, uses that of the project."""
        own = self.unet(REAL)
        return own if own.exists() else replace(self, root=self.data_root).unet(REAL)

    @property
    def unet_choice(self) -> Path:
        return self.root / "models" / "unet-choice.json"

    def predictions(self, data: str) -> Path:
        return self.root / "predictions" / data

    def audit(self, model: str) -> Path:
        return self.root / "audit" / model

    @property
    def audit_references(self) -> Path:
        """Results of audits that depend only on real patches; as confidential as these patches."""
        return self.root / "data" / "audit-references"

    @property
    def releases(self) -> Path:
        return self.root / "releases"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics"

    @property
    def sweeps(self) -> Path:
        """Results of sweeps, for the report; git tracks only its subfolder shown/."""
        return self.root / "sweeps"

    @property
    def report(self) -> Path:
        return self.root / "report"

    def resume(self, stage: str, key: str) -> Path:
        """Return the folder of a stage's resume files; the key changes with settings, data and code."""
        return self.root / ".work" / stage / key

    def site_root(self, settings: Settings, site: str) -> Path:
        """BIDS folder of a site."""
        return self.data_root / settings.cohort.sites[site].path

    def drawn(self, settings: Settings) -> bool:
        """Return whether the source is a site of the phantom."""
        return settings.cohort.of_source.path.startswith(PHANTOM)

    def scans(self, settings: Settings, site: str, names: Sequence[str]) -> list[Scan]:
        """Load the scans of labelled patients, such as those of validation; their arrays are read-only and lie on disk."""
        patients = self.patients(settings, site, names)
        return mapped_scans((load_scan(patient, settings.cohort.intensity) for patient in patients), self.root / ".work")

    def patients(self, settings: Settings, site: str, names: Sequence[str]) -> list[Patient]:
        """Return the files of the named patients, in the order of the names.

        Raises:
            InputError: a patient is missing.
        """
        if not names:
            return []
        root = self.site_root(settings, site)
        known = {patient.id: patient for patient in find_patients(root)}
        for name in names:
            if name not in known:
                raise InputError(f"{root}: patient {name} of splits/{site}.json is not there; run `dvc repro cohort`")
        return [known[name] for name in names]


def chosen_settings(settings: Settings, home: Workspace) -> Settings:
    """Return the settings with the values that select-unet has selected for the U-net.

    Raises:
        InputError: the file of select-unet is missing or damaged.
    """
    choice = read_json(home.unet_choice)
    try:
        unet = UnetSettings.model_validate({**settings.unet.model_dump(), **{name: choice[name] for name in CHOSEN}})
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(f"{home.unet_choice}: damaged; run `dvc repro select-unet` to make it anew") from error
    return settings.model_copy(update={"unet": unet})


def seeds_of(folder: Path) -> dict[int, Path]:
    """List the folders of a U-net's trainings by seed. The selected training comes first and is the folder itself; others are in seed-N.

    Raises:
        InputError: unet.json of the selected training is missing or damaged.
    """
    chosen = read_facts(folder).seed
    if chosen is None:
        raise InputError(f"{folder / 'unet.json'}: damaged, tells no seed; run `dvc repro` to train it")
    try:
        others = {int(path.name.removeprefix(SEED)): path for path in folder.glob(f"{SEED}*")}
    except ValueError as error:
        raise InputError(f"{folder}: holds a folder {SEED}* without a number; remove it, or run `dvc repro` to train it anew") from error
    return {chosen: folder, **dict(sorted(others.items()))}


def validation_over_seeds(folder: Path) -> dict[str, float]:
    """Mean validation scores over the trainings in a U-net's folder; see `over_seeds`."""
    trainings = [read_facts(path) for path in seeds_of(folder).values()]
    scores = [{name: getattr(training, name) for name in ("val_dsc", "val_hd95_mm")} for training in trainings]
    return over_seeds([{name: value for name, value in row.items() if value is not None} for row in scores])


def data_digest(folder: Path) -> str:
    """Return the digest of the arrays of a patch set, sixteen hex digits.

    Raises:
        InputError: an array is missing.
    """
    return _arrays_digest(folder).hexdigest()[:16]


def patients_digest(folder: Path, names: Sequence[str]) -> str:
    """Return the digest of patient names and patches, sixteen hex digits, with which two machines compare their training patients.

    The patches are included because a digest of the names alone could be inverted by trying all selections of the few names.

    Raises:
        InputError: an array is missing.
    """
    combined = _arrays_digest(folder)
    combined.update("\n".join(("patients", *names)).encode())
    return combined.hexdigest()[:16]


def _arrays_digest(folder: Path) -> hashlib._Hash:
    combined = hashlib.sha256()
    for name in ("image.npy", "label.npy"):
        try:
            combined.update(file_digest(folder / name).digest())
        except OSError as error:
            raise InputError(f"{folder / name}: cannot be read ({error.strerror}); run `dvc repro` to make it") from error
    return combined


def training_digest(settings: Settings, home: Workspace, data: str) -> str:
    """Return the digest of the patches on which the U-net named `data` is trained. Raises InputError if a file is missing."""
    if data != REAL:
        return data_digest(home.synthetic(data))
    site = settings.cohort.source
    return patients_digest(home.patches(site), load_split(home.splits, site).train)


def data_source(folder: Path) -> DataSource:
    """Describe a patch set as input of a training: "patches-SITE" or "synthetic-NAME", digest and number of pairs."""
    return DataSource(f"{folder.parent.name}-{folder.name}", data_digest(folder), str(folder), len(open_patch_set(folder)))


def write_curve(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write the numbers of a training as CSV, one row per step, columns in the order of first appearance."""
    by_step: dict[float, dict[str, float]] = {}
    for row in rows:
        by_step.setdefault(row["step"], {}).update(row)
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["step"]
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        write_table(stream, columns, ([by_step[step].get(name, "") for name in columns] for step in sorted(by_step)))
