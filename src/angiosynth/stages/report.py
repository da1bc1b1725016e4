"""Stage report: figures and page, from the files of the other stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from angiosynth.data.intensity import load_scan
from angiosynth.data.nifti import read_volume
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.evaluation.patients import THRESHOLD, PatientScore, read_scores
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.registry import KINDS
from angiosynth.project.workspace import Workspace
from angiosynth.reading import read_rows
from angiosynth.report import figures
from angiosynth.report.audit_figures import leakage_figure
from angiosynth.report.page import PageContext, build_page
from angiosynth.report.projections import patient_figure
from angiosynth.report.readme import update_readme, update_results
from angiosynth.report.style import Look
from angiosynth.report.sweep_figures import sweep_figures
from angiosynth.runtime.output import read_json, whole_folder
from angiosynth.settings import Settings, SplitSettings

SHOWN = 8  # pairs of each kind
SHOWN_VESSEL = (0.01, 0.2)  # range of the vessel fraction of shown patches


def report(settings: Settings, home: Workspace) -> None:
    """Draw all figures and write report/index.html."""
    evaluation = read_json(home.metrics / "evaluation.json")
    transfer, worth = (read_json(home.metrics / f"{name}.json") for name in ("transfer", "worth"))
    tables = {name: read_scores(home.metrics / "patients" / f"{name}.csv") for name in (*settings.training_data, THRESHOLD)}
    with whole_folder(home.report) as folder:
        drawn = folder / "figures"
        drawn.mkdir()
        paths = {name: drawn / f"{name}.png" for name in ("pairs", "scores", "patient", "transfer", "curves")}
        _pairs(settings, home, paths["pairs"])
        look = Look.of(evaluation)
        figures.scores_figure(tables, evaluation, look, paths["scores"])
        figures.curves_figure({model: _curve(home.generator(model) / "curve.csv") for model in settings.generators}, look, paths["curves"])
        figures.transfer_figure(transfer, look, paths["transfer"])
        if worth:
            paths["worth"] = drawn / "worth.png"
            figures.worth_figure(worth, evaluation, look, paths["worth"])
        chosen = evaluation["chosen_by_validation"]
        _patient(settings, home, tables, chosen, paths["patient"])
        paths["progress"] = home.generator(chosen) / "progress.png"
        audits: dict[str, Any] = {model: read_json(home.audit(model) / "audit.json") for model in settings.generators}
        paths["leakage"] = drawn / "leakage.png"
        sweeps = _studies(home.sweeps)
        searched = {(study["study"], name): path for study in sweeps for name, path in _sweep_figures(study, drawn).items()}
        leakage_figure(evaluation, audits, paths["leakage"])
        context = PageContext(
            audits=audits,
            sweeps=sweeps,
            sweep_figures=searched,
            evaluation=evaluation,
            transfer=transfer,
            worth=worth,
            figures=paths,
            settings=_excerpt(settings),
            cards={model: read_json(home.synthetic(model) / "card.json") for model in settings.generators},
            notes=_notes(settings, home),
        )
        (folder / "index.html").write_text(build_page(context), encoding="utf-8")


def _studies(folder: Path) -> list[dict[str, Any]]:
    """Results of sweeps: those of the repository in shown/, overridden by results of the same study in `folder`."""
    files = [*sorted((folder / "shown").glob("*.json")), *sorted(folder.glob("*.json"))]
    return list({path.stem: read_json(path) for path in files}.values())


def _sweep_figures(study: dict[str, Any], drawn: Path) -> dict[str, Path]:
    folder = drawn / "sweeps" / study["study"]
    folder.mkdir(parents=True)
    return sweep_figures(study, folder)


def readme(home: Workspace, path: Path) -> None:
    """Update the table and two figures of the README, and the tables of docs/results.md if it exists, from the existing report."""
    evaluation, transfer, worth = (read_json(home.metrics / f"{name}.json") for name in ("evaluation", "transfer", "worth"))
    page = path.with_name("docs") / "results.md"
    if page.is_file():
        update_results(page, evaluation, transfer, worth)
    paths = {name: home.report / "figures" / f"{name}.png" for name in ("pairs", "transfer")}
    update_readme(path, evaluation, transfer, paths, worth)


def _pairs(settings: Settings, home: Workspace, path: Path) -> None:
    real = open_patch_set(home.patches(settings.cohort.source)).of_patients(load_split(home.splits, settings.cohort.source).train)
    synthetic: dict[str, tuple[Any, Any]] = {model: _some(open_patch_set(home.synthetic(model))) for model in settings.generators}
    figures.pairs_figure(*_some(real), synthetic, Look(tuple(settings.generators)), path)


def _some(patches: PatchSet) -> tuple[Any, Any]:
    """Select a few pairs spread over the set, among those whose vessel fraction lies in SHOWN_VESSEL."""
    fraction = patches.label[patches.rows].mean(axis=(1, 2))
    low, high = SHOWN_VESSEL
    typical = np.flatnonzero((fraction >= low) & (fraction <= high))
    pool = typical if len(typical) >= SHOWN else np.arange(len(patches))
    rows = patches.rows[pool[np.linspace(0, len(pool) - 1, SHOWN).astype(int)]]
    return patches.image[rows], patches.label[rows]


def _patient(settings: Settings, home: Workspace, tables: dict[str, list[PatientScore]], model: str, path: Path) -> None:
    """Draw the test patient with the median score, instead of the best or the worst one."""
    kept = tables[model][0].seed  # predictions were stored for the seed of the first row
    rows = sorted((row for row in tables[model] if row.seed == kept), key=lambda row: row.dsc)
    row = rows[len(rows) // 2]
    (patient,) = home.patients(settings, settings.cohort.source, [row.patient])
    scan = load_scan(patient, settings.cohort.intensity)
    prediction = read_volume(home.predictions(model) / f"{row.patient}.nii.gz").array > 0.5
    title = f"{row.patient}, the median of the test patients: U-net trained on {model} pairs, DSC {row.dsc:.2f}"
    patient_figure(scan, prediction, title, path)


def _curve(path: Path) -> list[dict[str, str]]:
    try:
        return read_rows(path)[1]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or damaged; run `dvc repro` to make it") from error


def _excerpt(settings: Settings) -> dict[str, str]:
    unet, transfer, generators = settings.unet, settings.transfer, settings.generators
    by_unet = ", ".join(name for name in generators if settings.labelled_by_unet(name))
    return {
        "patches": f"{settings.patches.size}x{settings.patches.size}",
        "generators": ", ".join(f"{name} ({_sizes(generator)})" for name, generator in generators.items()),
        "synthetic pairs": f"{settings.synthesis.pairs}" + (f", labelled by the U-net on real patches: {by_unet}" if by_unet else ""),
        "U-net": f"width {unet.width}, {unet.steps} steps of {unet.batch_size}, seeds {unet.seeds}",
        "transfer": f"{transfer.steps} steps of {transfer.batch_size} for every start, learning rate {transfer.learning_rate:g}",
        **{f"split of {name}": _parts(site.split) for name, site in settings.cohort.sites.items()},
    }


def _sizes(generator: GeneratorSettings) -> str:
    if not KINDS[generator.kind].trains_network:
        return f"{generator.steps} rounds"
    return f"width {generator.width}, {generator.steps} steps of {generator.batch_size}"


def _parts(split: SplitSettings) -> str:
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    further = {"held out for the audit": split.held_out, "voters": split.voters}
    return ", ".join(f"{part} {_count(value)}" for part, value in (parts | {name: use for name, use in further.items() if use}).items())


def _count(patients: int | tuple[str, ...]) -> int:
    return patients if isinstance(patients, int) else len(patients)


def _notes(settings: Settings, home: Workspace) -> tuple[str, ...]:
    if not home.drawn(settings):
        return ("Distances rest on the voxel size in the scans' headers.",)
    seed = settings.phantom.seed
    return (f"The scans are the embedded phantom's (seed {seed}), not patients'; docs/phantom.md holds them against real ones.",)
