"""The one U-net trainer: on real patches, on synthetic ones, and for transfer from pre-trained weights."""

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
WARM_UP = 0.1  # fraction of the steps; without it Dice loss often ends in the empty prediction, which it does not leave again
ATTEMPTS = 3
EMPTY_LOSS, EMPTY_NOT_BEFORE = 0.99, 50  # of a batch; by this step a healthy training is well below it
GRADIENT_NORM = 1.0  # greater gradients are cut to this: one odd batch must not kill the ReLUs

# Scores a segmenter on whole volumes of validation patients: {"val_dsc": ..., "val_hd95_mm": ...}.
Validate = Callable[[Segmenter], dict[str, float]]


class _FellEmptyError(Exception):
    """The prediction has become empty, and Dice loss does not lead out of it."""


@dataclass(frozen=True)
class TrainedUnet:
    """The chosen U-net, the step it is from, its validation scores and the curve of the training."""

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
    """Train with Adam; keep the weights that do best on validation patients.

    Where the prediction is empty, Dice loss alone has next to no gradient. A training with it that falls there early starts
    again with other batches and half the learning rate, twice at most.

    Args:
        settings: section `unet`, or that section with another's values, see `with_values_of`.
        patches: pairs of training patients, or synthetic ones.
        validate: scores whole validation volumes, or None to keep the last weights.
        recorder: takes the curves.
        title: of the training, for progress and errors.
        unet: a pre-trained network, trained in place; None for a fresh one of the settings' width, dropout and seed.

    Raises:
        InputError: there are no patches, or the loss stopped being finite.
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
    """Settings of a U-net's training by another section: its values where it has a setting, those of `unet` elsewhere."""
    shared = {name: getattr(section, name) for name in UnetSettings.model_fields if name in type(section).model_fields}
    return unet.model_copy(update=shared)


@dataclass(frozen=True)
class _Training:
    """The arguments of one `train_segmenter`, shared by its attempts."""

    settings: UnetSettings
    patches: PatchSet
    segmenter: Segmenter
    validate: Validate | None
    recorder: Recorder
    title: str

    def seed(self, attempt: int) -> int:
        """Of an attempt's batches and dropout."""
        return self.settings.seed + 1000 * attempt

    def fit(self, attempt: int) -> TrainedUnet:
        """One attempt. All but the last give up where the prediction is empty after a fifth of the steps."""
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
            # once: see whether the prediction has become empty
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
        if best_weights:
            unet.load_state_dict(best_weights)
            return best
        return TrainedUnet(self.segmenter, settings.steps, {}, best.curve)

    def batches(self, attempt: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Image and label, (n, 1, x, y) each, for ever; another attempt draws other ones."""
        random = torch.Generator().manual_seed(self.seed(attempt))
        while True:
            # Rows are drawn with replacement: a batch does not depend on those before it but by the generator's state.
            rows = torch.randint(len(self.patches), (self.settings.batch_size,), generator=random).numpy()
            image, label = (torch.from_numpy(part)[:, None] for part in self.patches.pairs(rows))
            if self.settings.augmentation:
                image, label = augment(image, label, random)
            yield image.to(device(), memory_format=torch.channels_last), label.to(device())

    def record(self, curve: list[dict[str, float]], values: dict[str, float], step: int) -> None:
        """Add values to the curve and hand them to the recorder; InputError where one is not finite."""
        for name, value in values.items():
            if not math.isfinite(value):
                raise InputError(f"{self.title}: {name} is not finite at step {step}, diverged; lower the learning rate in params.yaml")
        curve.append({"step": step, **values})
        self.recorder.metrics(values, step)


def training_step(segmenter: Segmenter, optimiser: torch.optim.Optimizer, image: Tensor, label: Tensor, form: Loss) -> Tensor:
    """Make one optimiser step on image and label, (n, 1, x, y) each; returns the loss."""
    with autocast(segmenter.precision, image.device):
        loss = segmentation_loss(segmenter.unet((image - segmenter.mean) / segmenter.deviation), label, form)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(segmenter.unet.parameters(), GRADIENT_NORM)
    optimiser.step()
    return loss


def rate_factor(step: int, steps: int) -> float:
    """Fraction of the peak learning rate at step 1..steps: linear warm-up over the first tenth, then cosine decay to almost zero."""
    rise = max(1.0, WARM_UP * steps)
    if step < rise:
        return step / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps + 1 - rise)))
