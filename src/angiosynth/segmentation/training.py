"""Training of the U-net, on real or synthetic patches, from initial or pre-trained weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from angiosynth.compute.precision import autocast, device, place
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import Recorder
from angiosynth.segmentation.augmentation import augment
from angiosynth.segmentation.losses import Loss, segmentation_loss
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.unet import Unet, build_unet
from angiosynth.settings import ProbeSettings, TransferSettings, UnetSettings

LOG_EVERY = 20
WARM_UP = 0.1  # fraction of the steps; without warm-up Dice loss often converges to the empty prediction and stays there
ATTEMPTS = 3
EMPTY_LOSS, EMPTY_NOT_BEFORE = 0.99, 50  # batch loss of an empty prediction; a healthy training is well below it by this step
GRADIENT_NORM = 1.0  # gradients are clipped to this norm, so that a single unusual batch cannot disable ReLUs for good

# Scores a segmenter on whole volumes of validation patients: {"val_dsc": ..., "val_hd95_mm": ...}.
Validate = Callable[[Segmenter], dict[str, float]]


class _FellEmptyError(Exception):
    """The prediction has become empty; Dice loss has no gradient that would change that."""


@dataclass(frozen=True)
class TrainedUnet:
    """The selected U-net with its step and validation scores, and the curve of the training."""

    segmenter: Segmenter
    step: int
    scores: dict[str, float]
    curve: list[dict[str, float]]


def train_segmenter(
    settings: UnetSettings,
    patches: PatchSet,
    validate: Validate | None,
    recorder: Recorder,
    title: str = "train-unet",
    unet: Unet | None = None,
) -> TrainedUnet:
    """Train a U-net with Adam and select the weights with the best DSC on validation patients.

    Dice loss has almost no gradient if the prediction is empty. A training with Dice loss alone whose prediction becomes empty early is
    restarted with other batches and half the learning rate, at most twice.

    Args:
        settings: section `unet`, or this section with the values of another one, see `with_values_of`.
        patches: real pairs of training patients, or synthetic pairs.
        validate: scores a segmenter on whole validation volumes; None keeps the last weights.
        recorder: receives the curves.
        title: title of the training for progress and error messages.
        unet: a pre-trained network, which is trained in place; None builds one from width, dropout and seed of the settings.

    Raises:
        InputError: the set holds no patches, or the loss is not finite.
    """
    if len(patches) == 0:
        raise InputError(f"{patches.folder}: holds no patches to train on; check the split in params.yaml, section cohort")
    unet = unet or build_unet(settings.width, settings.dropout, settings.seed)
    place(unet, device())
    segmenter = Segmenter(unet, *patches.mean_deviation(), settings.precision)
    training = _Training(settings, patches, segmenter, validate, recorder, title)
    first_weights = copy.deepcopy(unet.state_dict())
    for attempt in range(ATTEMPTS):
        try:
            with torch.random.fork_rng():  # dropout draws from torch's global generator
                torch.manual_seed(training.seed(attempt))
                return training.fit(attempt)
        except _FellEmptyError:
            say(f"{title}: fell into the empty prediction, starts again at half the learning rate")
            unet.load_state_dict(first_weights)
    raise AssertionError("the last attempt never gives up")


def with_values_of(section: TransferSettings | ProbeSettings, unet: UnetSettings) -> UnetSettings:
    """Return the settings of a U-net training: the values of `section` for the settings that it has, those of `unet` for all others."""
    shared = {name: getattr(section, name) for name in UnetSettings.model_fields if name in type(section).model_fields}
    return unet.model_copy(update=shared)


@dataclass(frozen=True)
class _Training:
    """Arguments of one call of `train_segmenter`, shared by its attempts."""

    settings: UnetSettings
    patches: PatchSet
    segmenter: Segmenter
    validate: Validate | None
    recorder: Recorder
    title: str

    def seed(self, attempt: int) -> int:
        """Return the seed of the batches and the dropout of an attempt."""
        return self.settings.seed + 1000 * attempt

    def fit(self, attempt: int) -> TrainedUnet:
        """Run one attempt. All attempts but the last give up if the prediction is empty after a fifth of the steps."""
        settings, unet = self.settings, self.segmenter.unet
        peak_rate = settings.learning_rate * 0.5**attempt
        optimiser = torch.optim.Adam(unet.parameters(), peak_rate, fused=True)
        validation_steps = {int(step) for step in np.linspace(0, settings.steps, settings.validations + 1)[1:]}
        may_give_up = settings.loss == "dice" and attempt < ATTEMPTS - 1
        give_up_step = max(EMPTY_NOT_BEFORE, settings.steps // 5) if may_give_up else 0
        best = TrainedUnet(self.segmenter, 0, {}, [])
        best_weights: dict[str, Tensor] = {}
        batches = self.batches(attempt)
        for step in progress(range(1, settings.steps + 1), self.title, settings.steps):
            # one step of the optimiser
            unet.train()
            image, label = next(batches)
            for group in optimiser.param_groups:
                group["lr"] = peak_rate * rate_factor(step, settings.steps)
            loss = training_step(self.segmenter, optimiser, image, label, settings.loss)
            # once: check whether the prediction has become empty
            if step == give_up_step and float(loss.detach()) > EMPTY_LOSS:
                raise _FellEmptyError
            # every few steps: record the loss
            if step % LOG_EVERY == 0 or step == settings.steps:
                self.record(best.curve, {"loss": float(loss.detach())}, step)
            # once in a while: score whole volumes, and keep the weights if they are the best so far
            if self.validate is not None and step in validation_steps:
                scores = self.validate(self.segmenter)
                self.record(best.curve, scores, step)
                if not best_weights or scores["val_dsc"] > best.scores["val_dsc"]:
                    best = TrainedUnet(self.segmenter, step, scores, best.curve)
                    best_weights = copy.deepcopy(unet.state_dict())
        # Return to the best weights; without validation the last ones stay.
        if best_weights:
            unet.load_state_dict(best_weights)
            return best
        return TrainedUnet(self.segmenter, settings.steps, {}, best.curve)

    def batches(self, attempt: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of image and label, (n, 1, x, y) each, without end. Each attempt has a different seed."""
        random = torch.Generator().manual_seed(self.seed(attempt))
        while True:
            # Rows are drawn with replacement, so the state of the random generator is the only state of the iteration.
            rows = torch.randint(len(self.patches), (self.settings.batch_size,), generator=random).numpy()
            image, label = (torch.from_numpy(array)[:, None] for array in self.patches.pairs(rows))
            if self.settings.augmentation:
                image, label = augment(image, label, random)
            yield image.to(device(), memory_format=torch.channels_last), label.to(device())

    def record(self, curve: list[dict[str, float]], values: dict[str, float], step: int) -> None:
        """Append values to the curve and pass them to the recorder. Raises InputError if one is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(f"{self.title}: {name} is not finite at step {step}, diverged; lower the learning rate in params.yaml")
        curve.append({"step": step, **values})
        self.recorder.metrics(values, step)


def training_step(segmenter: Segmenter, optimiser: torch.optim.Optimizer, image: Tensor, label: Tensor, form: Loss) -> Tensor:
    """Run one optimiser step on image and label, (n, 1, x, y) each, and return the loss."""
    with autocast(segmenter.precision, image.device):
        loss = segmentation_loss(segmenter.unet((image - segmenter.mean) / segmenter.deviation), label, form)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(segmenter.unet.parameters(), GRADIENT_NORM)
    optimiser.step()
    return loss


def rate_factor(step: int, steps: int) -> float:
    """Return the ratio of learning rate to peak at step 1..steps: linear warm-up over the first tenth, then cosine decay to almost zero."""
    rise = max(1.0, WARM_UP * steps)
    if step < rise:
        return step / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps + 1 - rise)))
