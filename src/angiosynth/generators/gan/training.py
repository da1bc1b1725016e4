"""Training step of a GAN; `generators.loop` holds the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from angiosynth.compute.distributed import local_rows, parallel
from angiosynth.compute.precision import autocast, place
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import Probe, TrainedGenerator
from angiosynth.generators.gan.convolution import iterate_spectral_norms, sharing_weights
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.losses import Weight
from angiosynth.generators.gan.models import AnyGenerator, Gan, build_gan, encode_pairs
from angiosynth.generators.gan.sampling import GanSampler
from angiosynth.generators.graphs import Graphs, Numbers
from angiosynth.generators.loop import Training, check_patches, run_training
from angiosynth.generators.optimisers import adam, rate_of, set_rate
from angiosynth.generators.schedule import linear_decay
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import Recorder

STATISTICS_BATCH, STATISTICS_BATCHES = 128, 8


class GanTraining(Training[GanSettings]):
    """Training state of a GAN: networks, optimisers and averaged generator, besides the state of `Training`."""

    average: AnyGenerator

    def __init__(self, settings: GanSettings, patches: PatchSet) -> None:
        super().__init__(settings, patches)
        self.gan: Gan = build_gan(settings, patches.size)
        self.average = build_gan(settings, patches.size).generator.requires_grad_(False)  # equal weights, since the seed is the same
        for module in (self.gan.generator, self.gan.critic_loss, self.gan.generator_loss, self.average):
            place(module, self.device)
        self.gan.augmentation.to(self.device)
        self.generate, self.criticise = parallel(self.gan.generator), parallel(self.gan.critic_loss)
        betas = settings.betas
        self.generator_optimiser = adam(self.gan.generator, settings.learning_rate_generator, betas, self.device)
        self.critic_optimiser = adam(self.gan.critic, settings.learning_rate_critic, betas, self.device)
        self.graphs = Graphs(self.draws, self.generator_optimiser, self.critic_optimiser)

    def train_step(self) -> Numbers:
        """Run `critic_iterations` critic steps, each on a new batch, then one generator step.

        Returns:
            Losses and other scalars of the last critic step and of the generator step, by name.
        """
        # Set the learning rates of this step.
        factor = linear_decay(self.step, self.settings.steps) if self.settings.decay else 1.0
        for optimiser, rate in (
            (self.critic_optimiser, self.settings.learning_rate_critic),
            (self.generator_optimiser, self.settings.learning_rate_generator),
        ):
            set_rate(optimiser, rate * factor)
        # Train the critic, then the generator. Critic steps are numbered over the whole training for penalties of every k-th step.
        numbers: Numbers = {}
        # The generator's weights do not change during the critic steps, so they are cast once; a graph cannot take them from another.
        with nullcontext() if self.graphs.used else sharing_weights(self.gan.generator):
            iterations = self.settings.critic_iterations
            for number in range(self.step * iterations, (self.step + 1) * iterations):
                numbers |= self._critic_step(number)
        numbers |= self.graphs.run("generator", self._train_generator, self._real_batch())
        # Follow the generator with the exponential moving average, from which samples are drawn.
        self.step += 1
        self.update_average(self.gan.generator, self.settings.ema)
        return numbers

    def _critic_step(self, number: int) -> Numbers:
        real, weight = self._real_batch(), self.gan.critic_loss.weight(number)
        if weight is None:
            return self.graphs.run("critic", partial(self._train_critic, weight=None), real)
        return self.graphs.run("critic with penalties", self._train_critic, real, weight)

    def _train_critic(self, real: Tensor, weight: Weight) -> Numbers:
        iterate_spectral_norms(self.gan.critic)
        with autocast(self.settings.precision, self.device):
            with torch.no_grad():  # a critic step does not differentiate the generator
                fake = self.gan.generator(self._latent())
            # The critic sees real and generated pairs only after random augmentation with the same probability.
            real, fake = (self.gan.augmentation(pairs, self.draws) for pairs in (real, fake))
            loss, numbers = self.criticise(real, fake, self.draws, weight)
        loss.backward()
        self.critic_optimiser.step()
        self.critic_optimiser.zero_grad(set_to_none=True)
        numbers = {"critic_loss": loss.detach(), **{name: value.detach() for name, value in numbers.items()}}
        # Adjust the probability of augmentation by the overfitting of the critic.
        if "critic_order" in numbers:
            numbers |= self.gan.augmentation.adapt(numbers["critic_order"], self.settings.batch_size)
        return numbers

    def _train_generator(self, real: Tensor) -> Numbers:
        iterate_spectral_norms(self.gan.generator)
        with _frozen(self.gan.critic), autocast(self.settings.precision, self.device):
            # The generator is differentiated through augmentation and critic.
            real, fake = (self.gan.augmentation(pairs, self.draws) for pairs in (real, self.generate(self._latent())))
            loss: Tensor = self.gan.generator_loss(real, fake)
        loss.backward()
        self.generator_optimiser.step()
        self.generator_optimiser.zero_grad(set_to_none=True)
        return {"generator_loss": loss.detach()}

    def _real_batch(self) -> Tensor:
        """This process's rows of a random batch of real pairs, (n, 2, x, y), on the device."""
        pairs = encode_pairs(self.settings, *self.real_batch(self.settings.flip))
        return pairs.to(self.device, memory_format=torch.channels_last, non_blocking=True)

    def _latent(self) -> Tensor:
        return local_rows(self.draws.normal(self.settings.batch_size, self.gan.generator.latent_size))

    @torch.no_grad()
    def averaged(self) -> AnyGenerator:
        """Return the averaged generator with batch norm statistics and spectral norms that match its weights.

        Averaged weights give other activations than those in training, so the statistics are recomputed on a fixed set of latents
        (Izmailov et al. 2018, section 3.2).
        """
        # Start from the singular vectors of the current generator; one power iteration adapts them to the averaged weights.
        for average, current in zip(self.average.buffers(), self.gan.generator.buffers(), strict=True):
            average.copy_(current)
        iterate_spectral_norms(self.average)
        # Recompute the batch norm statistics on fixed latents.
        random = torch.Generator().manual_seed(self.settings.seed)
        latents = [torch.randn(STATISTICS_BATCH, self.average.latent_size, generator=random) for _ in range(STATISTICS_BATCHES)]
        with autocast(self.settings.precision, self.device):
            update_bn(latents, self.average, self.device)
        return self.average

    def rates(self) -> dict[str, float]:
        """Return the learning rates of the last step."""
        optimisers = {"generator": self.generator_optimiser, "critic": self.critic_optimiser}
        return {f"learning_rate_{name}": rate_of(optimiser) for name, optimiser in optimisers.items()}

    def sampler(self) -> GanSampler:
        """Return a sampler of the averaged generator."""
        return GanSampler(self.averaged(), self.settings, self.device)

    def audited(self) -> dict[str, dict[str, Tensor]]:
        """Return the weights of the critic."""
        return {"critic": {name: value.detach().cpu() for name, value in self.gan.critic.state_dict().items()}}

    def modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
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
    """Train a GAN on the patches of training patients and select a generator: see `Family.train`."""
    check_patches(patches)
    return run_training(name, GanTraining(settings, patches), probe, checkpoints, recorder)


@contextmanager
def _frozen(network: nn.Module) -> Iterator[None]:
    """Compute no gradients of the critic's weights within this context: a generator step does not use them."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
