"""Stage train-generator: train one generator on training patients of the source and select it on validation patients."""

from __future__ import annotations

from pathlib import Path

from angiosynth.compute.distributed import joined, rank
from angiosynth.compute.threads import use_threads
from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.generators.base import PROMISE, TrainedGenerator
from angiosynth.generators.registry import KINDS, family_of
from angiosynth.generators.storage import load_sampler, save_generator
from angiosynth.project.facts import generator_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.resuming import TrainingInputs, resume_folder
from angiosynth.project.workspace import Workspace, data_source, write_curve
from angiosynth.report.figures import SHEET, contact_sheet, progress_strip
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.output import whole_folder
from angiosynth.runtime.recorder import NullRecorder, Recorder
from angiosynth.segmentation.probe import UnetProbe
from angiosynth.settings import Settings, digest
from angiosynth.tracking.runs import RunSpec, training_run


def train_generator(settings: Settings, home: Workspace, model: str) -> None:
    """Train one generator as an MLflow run and write the selected one. Under torchrun only the first process logs and writes."""
    use_threads(settings.threads)
    with joined():
        checkpoints = generator_checkpoints(settings, home, model)
        if rank():
            fit_generator(settings, home, model, NullRecorder(), checkpoints)
        else:
            preflight(settings, home)
            _train_and_log(settings, home, model, checkpoints)
            checkpoints.clear()  # only after everything is written and recorded, so that a killed stage can be resumed until then


def _train_and_log(settings: Settings, home: Workspace, model: str, checkpoints: Checkpoints) -> None:
    data, tracked = data_source(_training_folder(settings, home, model)), generator_settings(settings, model)
    folder = home.generator(model)
    with training_run(RunSpec("generator", model, stage=f"train-generator@{model}", settings=tracked, data=data)) as run:
        trained = fit_generator(settings, home, model, run, checkpoints)
        run.final({"chosen_step": trained.step, **trained.scores})
        for name in ("samples.png", "progress.png", "generator.json", "curve.csv"):
            run.artifact(folder / name)
        run.final({f"{PROMISE}.{key}": value for key, value in trained.promise.items() if isinstance(value, int | float)})
        if KINDS[settings.generator(model).kind].trains_network:
            sampler = load_sampler(folder, settings.generator(model), settings.patches.size)
            run.log_model(sampler.network, sampler.example(), name="generator")


def generator_checkpoints(settings: Settings, home: Workspace, model: str) -> Checkpoints:
    """Resume files of the training, in a folder whose name is a digest of all inputs that affect the result."""
    split = load_split(home.splits, settings.cohort.source)
    scored = home.patients(settings, settings.cohort.source, split.validation)
    inputs = TrainingInputs(generator_settings(settings, model), home.patches(settings.cohort.source), split, scored)
    return Checkpoints(resume_folder(home, f"train-generator-{model}", inputs))


def fit_generator(settings: Settings, home: Workspace, model: str, recorder: Recorder, checkpoints: Checkpoints) -> TrainedGenerator:
    """Train one generator on training patients of the source, select it on validation patients, and write its folder.

    The caller must clear the resume files.
    """
    split = load_split(home.splits, settings.cohort.source)
    real = home.real_patches(settings, split.train)
    source_folder = _training_folder(settings, home, model)
    votes = source_folder != home.patches(settings.cohort.source)
    trained_on = open_patch_set(source_folder).of_patients([*split.train, *split.voters]) if votes else real
    probe = UnetProbe(home.scans(settings, settings.cohort.source, split.validation), settings.probe, real)
    generator = settings.generator(model)
    trained = family_of(generator).train(model, generator, trained_on, probe, checkpoints, recorder)
    if rank():
        return trained
    with whole_folder(home.generator(model)) as folder:
        settings_digest = digest(generator_settings(settings, model))
        description = {"model": model, "kind": generator.kind, "size": real.size, "settings_digest": settings_digest}
        save_generator(folder, trained, checkpoints, description)
        write_curve(folder / "curve.csv", trained.curve)
        progress_strip({step: (image.numpy(), label.numpy()) for step, (image, label) in trained.watched.items()}, folder / "progress.png")
        contact_sheet(*load_sampler(folder, generator, real.size).pairs(SHEET, seed=0), folder / "samples.png")
    return trained


def _training_folder(settings: Settings, home: Workspace, model: str) -> Path:
    """Folder of the patches that a generator learns from: those of the training patients, or of all who vote."""
    source = settings.cohort.source
    votes = KINDS[settings.generator(model).kind].votes and load_split(home.splits, source).voters
    return home.voters(source) if votes else home.patches(source)
