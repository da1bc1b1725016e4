"""The one U-net trainer: on real patches, on synthetic ones, and for transfer from weights that are there already."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

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
from angiosynth.segmentation.unet import Unet

LOG_EVERY = 20
WARM_UP = 0.1  # share of the steps; without it Dice loss often ends in the empty prediction, from which there is no way back
ATTEMPTS = 3
EMPTY_LOSS, EMPTY_NOT_BEFORE = 0.99, 50  # of a batch; at the step from which on a healthy training is well below
GRADIENT_NORM = 1.0  # greater gradients are cut to this: one odd batch must not kill the ReLUs

# Scores a segmenter on whole volumes of validation patients: {"val_dsc": ..., "val_hd95_mm": ...}.
Validate = Callable[[Segmenter], dict[str, float]]


class _FellEmptyError(Exception):
    """The prediction has become empty, and Dice loss does not lead out of it."""


class Schedule(Protocol):
    """What the trainer needs of the sections `unet`, `transfer` and `probe`."""

    @property
    def steps(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def loss(self) -> Loss: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class TrainedUnet:
    """The chosen U-net, the step it is from, its validation scores and the curve of the training."""

    segmenter: Segmenter
    step: int
    scores: dict[str, float]
    curve: list[dict[str, float]]


def train_unet(
    unet: Unet,
    patches: PatchSet,
    schedule: Schedule,
    validate: Validate | None,
    recorder: Recorder,
    *,
    validations: int = 1,
    augmentation: bool = True,
    precision: str = "auto",
    what: str = "train-unet",
) -> TrainedUnet:
    """Train with Adam; keep the weights that do best on validation patients.

    Where the prediction is empty, Dice loss alone has next to no gradient. A training with it that falls there early starts
    again with other batches and half the learning rate, twice at most.

    Args:
        unet: fresh or pre-trained; it is trained in place.
        patches: pairs of training patients, or synthetic ones.
        schedule: steps, batch size, learning rate, loss, seed.
        validate: scores whole validation volumes, or None to keep the last weights.
        recorder: takes the curves.
        validations: how often to validate, evenly over the steps.

    Raises:
        InputError: there are no patches, or the loss stopped being finite.
    """
    if len(patches) == 0:
        raise InputError(f"{patches.folder}: holds no patches to train on; check the split in params.yaml, section cohort")
    place(unet, device())
    segmenter = Segmenter(unet, *patches.mean_deviation(), precision)
    first = copy.deepcopy(unet.state_dict())
    for attempt in range(ATTEMPTS):
        batches = _batches(patches, schedule, attempt, augmentation)
        try:
            with torch.random.fork_rng():  # dropout draws from torch's global generator
                torch.manual_seed(schedule.seed + 1000 * attempt)
                return _fit(segmenter, batches, schedule, attempt, validate, recorder, validations, what)
        except _FellEmptyError:
            say(f"{what}: fell into the empty prediction, starts again at half the learning rate")
            unet.load_state_dict(first)
    raise AssertionError("the last attempt takes what comes")


def _fit(
    segmenter: Segmenter,
    batches: Iterator[tuple[Tensor, Tensor]],
    schedule: Schedule,
    attempt: int,
    validate: Validate | None,
    recorder: Recorder,
    validations: int,
    what: str,
) -> TrainedUnet:
    """One attempt. All but the last give up where the prediction is empty after a fifth of the steps."""
    unet = segmenter.unet
    rate = schedule.learning_rate * 0.5**attempt
    optimiser = torch.optim.Adam(unet.parameters(), rate, fused=True)
    validated = {int(step) for step in np.linspace(0, schedule.steps, validations + 1)[1:]}
    may_fall = schedule.loss == "dice" and attempt < ATTEMPTS - 1
    looked_at = max(EMPTY_NOT_BEFORE, schedule.steps // 5) if may_fall else 0
    best = TrainedUnet(segmenter, 0, {}, [])
    best_weights: dict[str, Tensor] = {}
    for step in progress(range(1, schedule.steps + 1), what, schedule.steps):
        unet.train()
        image, label = next(batches)
        for group in optimiser.param_groups:
            group["lr"] = rate * rate_factor(step, schedule.steps)
        loss = training_step(segmenter, optimiser, image, label, schedule.loss)
        if step == looked_at and float(loss.detach()) > EMPTY_LOSS:
            raise _FellEmptyError
        if step % LOG_EVERY == 0 or step == schedule.steps:
            _record(best.curve, {"loss": float(loss.detach())}, step, recorder, what)
        if validate is not None and step in validated:
            scores = validate(segmenter)
            _record(best.curve, scores, step, recorder, what)
            if not best_weights or scores["val_dsc"] > best.scores["val_dsc"]:
                best = TrainedUnet(segmenter, step, scores, best.curve)
                best_weights = copy.deepcopy(unet.state_dict())
    if best_weights:
        unet.load_state_dict(best_weights)
        return best
    return TrainedUnet(segmenter, schedule.steps, {}, best.curve)


def training_step(segmenter: Segmenter, optimiser: torch.optim.Optimizer, image: Tensor, label: Tensor, form: Loss) -> Tensor:
    """One step on image and label, (n, 1, x, y) each; gives the loss."""
    with autocast(segmenter.precision, image.device):
        loss = segmentation_loss(segmenter.unet((image - segmenter.mean) / segmenter.deviation), label, form)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(segmenter.unet.parameters(), GRADIENT_NORM)
    optimiser.step()
    return loss


def rate_factor(step: int, steps: int) -> float:
    """Share of the learning rate at step 1..steps: a linear rise over the first tenth, then half a cosine down to nothing."""
    rise = max(1.0, WARM_UP * steps)
    if step < rise:
        return step / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1.0, steps + 1 - rise)))


def _batches(patches: PatchSet, schedule: Schedule, attempt: int, augmentation: bool) -> Iterator[tuple[Tensor, Tensor]]:
    """Image and label, (n, 1, x, y) each, for ever; another attempt draws other ones."""
    random = torch.Generator().manual_seed(schedule.seed + 1000 * attempt)
    where = device()
    while True:
        rows = torch.randint(len(patches), (schedule.batch_size,), generator=random).numpy()
        image, label = (torch.from_numpy(part)[:, None] for part in patches.pairs(rows))
        if augmentation:
            image, label = augment(image, label, random)
        yield image.to(where, memory_format=torch.channels_last), label.to(where)


def _record(curve: list[dict[str, float]], values: dict[str, float], step: int, recorder: Recorder, what: str) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise InputError(f"{what}: {name} is not finite at step {step}, diverged; lower the learning rate in params.yaml")
    curve.append({"step": step, **values})
    recorder.metrics(values, step)
