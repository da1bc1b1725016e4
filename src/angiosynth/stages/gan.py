"""Stages train-gan and synthesize."""

from __future__ import annotations

import shutil
from typing import Any

import torch

from angiosynth.data.cohort import load_split
from angiosynth.data.patches import PatchSet, open_patch_set
from angiosynth.evaluation.validation import UnetProbe
from angiosynth.experiments.tracking import training_run
from angiosynth.gan.models import build_generator
from angiosynth.gan.synthesis import Sampler, checkpoint_file, load_generator
from angiosynth.gan.synthesis import synthesize as draw_pairs
from angiosynth.gan.training import TrainedGan
from angiosynth.gan.training import train_gan as fit
from angiosynth.report.figures import contact_sheet, progress_strip
from angiosynth.runtime.checkpoint import Checkpoints, save_weights
from angiosynth.runtime.distributed import joined, rank
from angiosynth.runtime.output import whole_folder, write_json
from angiosynth.runtime.recorder import NullRecorder, Recorder
from angiosynth.settings import Settings, digest
from angiosynth.stages.preflight import preflight
from angiosynth.stages.resuming import resume_folder
from angiosynth.stages.workspace import Workspace, data_source, write_curve

SHOWN = 32  # pairs of a contact sheet


def gan_settings(settings: Settings, model: str) -> dict[str, Any]:
    """The settings that train-gan@<model> depends on."""
    return {
        "model": model,
        "common": settings.gan.common,
        model: settings.gan.of(model),
        "probe": settings.probe,
        "intensity": settings.cohort.intensity,
        "patches": settings.patches,
    }


def gan_run_settings(settings: Settings, model: str) -> dict[str, Any]:
    """The same as its run records them: the model's own section is called `gan`, so that runs of all models can be compared."""
    return {"gan" if name == model else name: value for name, value in gan_settings(settings, model).items()}


def train_gan(settings: Settings, home: Workspace, model: str) -> None:
    """Train one GAN as an MLflow run; its chosen generator is the stage's output. Under torchrun only the first process logs and writes."""
    with joined():
        checkpoints = gan_checkpoints(settings, home, model)
        if rank():
            fit_gan(settings, home, model, NullRecorder(), checkpoints)
        else:
            preflight(settings, home)
            _train_and_log(settings, home, model, checkpoints)
            checkpoints.clear()  # last: until all is written and recorded, a kill costs nothing


def _train_and_log(settings: Settings, home: Workspace, model: str, checkpoints: Checkpoints) -> None:
    data = data_source(home.patches("site-a"))
    with training_run("gan", model, stage=f"train-gan@{model}", settings=gan_run_settings(settings, model), data=data) as run:
        trained = fit_gan(settings, home, model, run, checkpoints)
        run.final({"chosen_step": trained.step, **trained.scores})
        for name in ("samples.png", "progress.png", "generator.json", "curve.csv"):
            run.artifact(home.gan(model) / name)
        generator = load_generator(home.gan(model), model, settings.gan, settings.patches.size)
        run.log_model(generator, torch.zeros(2, generator.latent_size).numpy(), name="generator")


def gan_checkpoints(settings: Settings, home: Workspace, model: str) -> Checkpoints:
    """The training's resume files, which belong to everything that its result depends on."""
    split = load_split(home.splits, "site-a")
    scored = home.patients(settings, "site-a", split.validation)
    return Checkpoints(resume_folder(home, f"train-gan-{model}", gan_settings(settings, model), home.patches("site-a"), split, scored))


def fit_gan(settings: Settings, home: Workspace, model: str, recorder: Recorder, checkpoints: Checkpoints) -> TrainedGan:
    """Train one GAN on site A's training patients, chosen by its validation patients; write the generator's folder.

    The resume files are left to the caller to clear.
    """
    split = load_split(home.splits, "site-a")
    real = training_patches(home, split.train)
    probe = UnetProbe(home.scans(settings, "site-a", split.validation), settings.probe, real)
    own = gan_settings(settings, model)
    trained = fit(model, settings.gan, real, probe, checkpoints, recorder)
    if rank():
        return trained
    with whole_folder(home.gan(model)) as folder:
        save_weights(folder / "generator.pt", {name: value.contiguous() for name, value in trained.weights.items()})
        save_weights(folder / "critic.pt", {name: value.contiguous() for name, value in trained.critic.items()})
        facts = {"model": model, "step": trained.step, "size": real.size, "settings_digest": digest(own), **trained.scores}
        generator = build_generator(model, settings.gan, real.size)
        generator.load_state_dict(trained.weights)
        seen = [row for row in trained.curve if "probe_dsc" in row]
        write_json(folder / "generator.json", {**facts, "latent_size": generator.latent_size, "probes": seen})
        for step, kept in checkpoints.kept().items():
            if step != trained.step:
                checkpoint_file(folder, step).parent.mkdir(exist_ok=True)
                shutil.copyfile(kept, checkpoint_file(folder, step))
        write_curve(folder / "curve.csv", trained.curve)
        progress_strip({step: (image.numpy(), label.numpy()) for step, (image, label) in trained.watched.items()}, folder / "progress.png")
        contact_sheet(*Sampler(generator, settings.gan, torch.device("cpu")).pairs(SHOWN, seed=0, threshold=None), folder / "samples.png")
    return trained


def synthesize(settings: Settings, home: Workspace, model: str) -> None:
    """Draw the synthetic set of one GAN with its card and a contact sheet."""
    real = training_patches(home, load_split(home.splits, "site-a").train)
    generator = load_generator(home.gan(model), model, settings.gan, real.size)
    facts = {"model": model, "settings_digest": digest(settings.gan.common, settings.gan.of(model), settings.synthesis)}
    with whole_folder(home.synthetic(model)) as folder:
        sampler = Sampler(generator, settings.gan, torch.device("cpu"))
        write_json(folder / "card.json", draw_pairs(sampler, settings.synthesis, real, facts, folder))
        drawn = open_patch_set(folder)
        shown = min(SHOWN, len(drawn))
        contact_sheet(drawn.image[:shown], drawn.label[:shown], folder / "contact.png")


def training_patches(home: Workspace, patients: tuple[str, ...]) -> PatchSet:
    """Site A's real patches, of training patients only."""
    return open_patch_set(home.patches("site-a")).of_patients(patients)
