"""The one training loop of all GANs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from angiosynth.compute.distributed import any_of, check_batch, local_rows, mean_over_all, parallel, rank
from angiosynth.compute.precision import autocast, device, place
from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.generators.base import Probe, TrainedGenerator
from angiosynth.generators.gan.convolution import iterate_spectral_norms, sharing_weights
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.models import AnyGenerator, Gan, build_gan, encode_pairs
from angiosynth.generators.gan.sampling import GanSampler
from angiosynth.generators.schedule import WATCHED, linear_decay, probe_steps, watch_steps
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import Recorder
from angiosynth.runtime.stop import EXIT_CODE, heeding_sigterm

LOG_EVERY = 20
STATISTICS_BATCH, STATISTICS_BATCHES = 128, 8


class GanTraining:
    """State of one training: networks, optimisers, averaged generator, random numbers, the best generator so far."""

    def __init__(self, settings: GanSettings, patches: PatchSet) -> None:
        self.settings, self.patches = settings, patches
        check_batch(self.settings.batch_size)
        self.device = device()
        self.gan: Gan = build_gan(settings, patches.size)
        self.average = build_gan(settings, patches.size).generator.requires_grad_(False)  # the same weights, by the same seed
        for module in (self.gan.generator, self.gan.critic_loss, self.gan.generator_loss, self.average):
            place(module, self.device)
        self.gan.augmentation.to(self.device)
        self.generate, self.criticise = parallel(self.gan.generator), parallel(self.gan.critic_loss)
        rate_generator, rate_critic = self.settings.learning_rate_generator, self.settings.learning_rate_critic
        self.generator_optimiser = torch.optim.Adam(self.gan.generator.parameters(), rate_generator, self.settings.betas, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.gan.critic.parameters(), rate_critic, self.settings.betas, fused=True)
        self.random = torch.Generator().manual_seed(settings.seed)
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}
        self.watched: dict[int, tuple[Tensor, Tensor]] = {}

    def train_step(self) -> dict[str, Tensor]:
        """Make `critic_iterations` critic steps, each with a fresh batch, then one generator step.

        Returns:
            Losses and other scalars of the last critic step and of the generator step, by name.
        """
        factor = linear_decay(self.step, self.settings.steps) if self.settings.decay else 1.0
        for optimiser, rate in (
            (self.critic_optimiser, self.settings.learning_rate_critic),
            (self.generator_optimiser, self.settings.learning_rate_generator),
        ):
            optimiser.param_groups[0]["lr"] = rate * factor
        numbers: dict[str, Tensor] = {}
        with sharing_weights(self.gan.generator):  # its weights do not change during the critic's steps
            iterations = self.settings.critic_iterations
            for number in range(self.step * iterations, (self.step + 1) * iterations):
                numbers |= self._critic_step(number)
        numbers["generator_loss"] = self._generator_step()
        self.step += 1
        self._update_average()
        return numbers

    def _critic_step(self, number: int) -> dict[str, Tensor]:
        iterate_spectral_norms(self.gan.critic)
        real = self._real_batch()
        with autocast(self.settings.precision, self.device):
            with torch.no_grad():
                fake = self.gan.generator(self._latent())
            real, fake = (self.gan.augmentation(pairs, self.random) for pairs in (real, fake))
            loss, numbers = self.criticise(real, fake, self.random, number)
        loss.backward()
        self.critic_optimiser.step()
        self.critic_optimiser.zero_grad(set_to_none=True)
        numbers = {"critic_loss": loss.detach(), **{name: value.detach() for name, value in numbers.items()}}
        if "critic_order" in numbers:
            numbers |= self.gan.augmentation.adapt(numbers["critic_order"], self.settings.batch_size)
        return numbers

    def _generator_step(self) -> Tensor:
        iterate_spectral_norms(self.gan.generator)
        real = self._real_batch()
        with _frozen(self.gan.critic), autocast(self.settings.precision, self.device):
            real, fake = (self.gan.augmentation(pairs, self.random) for pairs in (real, self.generate(self._latent())))
            loss: Tensor = self.gan.generator_loss(real, fake)
        loss.backward()
        self.generator_optimiser.step()
        self.generator_optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    def _real_batch(self) -> Tensor:
        """(n, 2, x, y): image and label, mirrored left-right at random."""
        count = self.settings.batch_size
        rows = local_rows(torch.randint(len(self.patches), (count,), generator=self.random)).numpy()
        image, label = (torch.from_numpy(array) for array in self.patches.pairs(rows))
        pairs = encode_pairs(self.settings, image, label)
        if self.settings.flip:
            mirrored = local_rows(torch.rand(count, generator=self.random)) < 0.5
            pairs = torch.where(mirrored[:, None, None, None], pairs.flip(2), pairs)
        return pairs.to(self.device, memory_format=torch.channels_last)

    def _latent(self) -> Tensor:
        return local_rows(torch.randn(self.settings.batch_size, self.gan.generator.latent_size, generator=self.random)).to(self.device)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Exponential moving average of the weights. At first the decay is smaller, so that the initial weights fade soon."""
        decay = min(self.settings.ema, self.step / (self.step + 10.0))
        for average, current in zip(self.average.parameters(), self.gan.generator.parameters(), strict=True):
            average.lerp_(current, 1.0 - decay)

    @torch.no_grad()
    def averaged(self) -> AnyGenerator:
        """The averaged generator, ready to draw from.

        Activations under averaged weights differ from those in training, so batch norm's statistics are recomputed on a fixed set of
        latents (Izmailov et al. 2018, section 3.2).
        """
        for average, current in zip(self.average.buffers(), self.gan.generator.buffers(), strict=True):
            average.copy_(current)
        iterate_spectral_norms(self.average)
        random = torch.Generator().manual_seed(self.settings.seed)
        latents = [torch.randn(STATISTICS_BATCH, self.average.latent_size, generator=random) for _ in range(STATISTICS_BATCHES)]
        with autocast(self.settings.precision, self.device):
            update_bn(latents, self.average, self.device)
        return self.average

    def choose(self, scores: dict[str, float]) -> None:
        """Remember the averaged generator if it is the best so far by validation patients."""
        score = scores.get("probe_dsc", float(self.step))
        if not self.best or score > self.best["score"]:
            weights = {name: value.detach().cpu().clone() for name, value in self.average.state_dict().items()}
            self.best = {"score": score, "step": self.step, "scores": scores, "weights": weights}

    def rates(self) -> dict[str, float]:
        """The learning rates of the last step."""
        optimisers = {"generator": self.generator_optimiser, "critic": self.critic_optimiser}
        return {f"learning_rate_{name}": float(optimiser.param_groups[0]["lr"]) for name, optimiser in optimisers.items()}

    def watch(self) -> None:
        """Keep the averaged generator's pairs for a few fixed latents, for the strip of progress."""
        image, label = GanSampler(self.averaged(), self.settings, self.device).pairs(WATCHED, seed=0)
        self.watched[self.step] = torch.from_numpy(image), torch.from_numpy(label)

    def state(self) -> dict[str, Any]:
        """The state that a resumed training needs."""
        return {
            **{name: module.state_dict() for name, module in self._modules().items()},
            "random": self.random.get_state(),
            "step": self.step,
            "curve": self.curve,
            "best": self.best,
            "watched": self.watched,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved `state`."""
        for name, module in self._modules().items():
            module.load_state_dict(state[name])
        self.random.set_state(state["random"])
        self.step, self.curve, self.best, self.watched = state["step"], state["curve"], state["best"], state["watched"]

    def _modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {
            "generator": self.gan.generator,
            "critic": self.gan.critic,
            "average": self.average,
            "augmentation": self.gan.augmentation,
            "generator_optimiser": self.generator_optimiser,
            "critic_optimiser": self.critic_optimiser,
        }


def train_gan(
    name: str, settings: GanSettings, patches: PatchSet, probe: Probe, checkpoints: Checkpoints, recorder: Recorder
) -> TrainedGenerator:
    """Train one GAN on the patches of training patients and choose a generator: see `Family.train`."""
    if len(patches) == 0:
        raise InputError(f"{patches.folder}: holds no patches to train on; check the split in params.yaml, section cohort")
    training = GanTraining(settings, patches)
    saved = checkpoints.load()
    if saved is not None:
        training.restore(saved)
        say(f"train-generator {name}: goes on at step {training.step}")
    steps, every = settings.steps, settings.checkpoint_every
    with heeding_sigterm() as terminated:
        remaining = range(training.step, steps)
        for _ in remaining if rank() else progress(remaining, f"train-generator {name}", steps, done=training.step):
            numbers = training.train_step()
            # decide what to do after this step; all processes decide alike
            stops, watches = any_of(terminated()), training.step in watch_steps(steps)
            logs, saves = training.step % LOG_EVERY == 0 or training.step == steps, training.step % every == 0 or stops
            values = _finite(numbers, training, name) if logs or saves or watches else {}  # no state is kept that was not checked
            # every few steps: record losses and learning rates
            if logs:
                values |= training.rates()
                training.curve.append({"step": training.step, **values})
                recorder.metrics(values, training.step)
            # once in a while, in the second half: score the averaged generator with the probe
            if settings.checkpoint_choice == "probe_dsc" and training.step in probe_steps(steps, settings.probes):
                _probe(training, probe, checkpoints, recorder)
            # at doubling steps: keep a few pairs for the strip of progress
            if watches:
                training.watch()
            # every `checkpoint_every` steps, and before stopping: write a resume file
            if saves and rank() == 0:
                checkpoints.save(training.step, training.state())
            if stops:
                say(f"train-generator {name}: stopped by a signal, saved at step {training.step}; the same command goes on from there")
                raise SystemExit(EXIT_CODE)
    # without a probe the last averaged generator is the chosen one
    if not training.best:
        training.averaged()
        training.choose({})
    best = training.best
    critic = {name: value.detach().cpu() for name, value in training.gan.critic.state_dict().items()}
    return TrainedGenerator(best["weights"], {"critic": critic}, best["step"], best["scores"], training.curve, training.watched)


def _probe(training: GanTraining, probe: Probe, checkpoints: Checkpoints, recorder: Recorder) -> None:
    """Score the averaged generator, keep its weights, and remember it if it is the best so far."""
    sampler = GanSampler(training.averaged(), training.settings, training.device)
    if rank():
        training.choose({})  # process 0 chooses and saves
        return
    scores = probe(sampler, training.step)
    training.choose(scores)
    checkpoints.keep(training.step, {name: value.detach().cpu().contiguous() for name, value in training.average.state_dict().items()})
    training.curve.append({"step": training.step, **scores})
    recorder.metrics(scores, training.step)


def _finite(numbers: dict[str, Tensor], training: GanTraining, name: str) -> dict[str, float]:
    """The step's numbers as floats, the same in all processes."""
    values = {number: float(mean_over_all(value)) for number, value in numbers.items()}
    for number, value in values.items():
        if not math.isfinite(value):
            every = training.settings.checkpoint_every
            saved = (training.step - 1) // every * every
            last = f"the last checkpoint is of step {saved}" if saved else "there is no checkpoint yet"
            raise InputError(
                f"train-generator {name}: {number} is not finite at step {training.step}, diverged; {last}; lower the learning rates"
            )
    return values


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of the critic's weights in a generator step, where they are not needed."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
