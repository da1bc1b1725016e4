"""Training step of a GAN; `generators.loop` holds the loop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from angiosynth.compute.distributed import local_rows, parallel
from angiosynth.compute.precision import autocast, place
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import Probe, TrainedGenerator
from angiosynth.generators.gan.convolution import iterate_spectral_norms, sharing_weights
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.gan.models import AnyGenerator, Gan, build_gan, encode_pairs
from angiosynth.generators.gan.sampling import GanSampler
from angiosynth.generators.loop import Training, check_patches, run_training
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
        rate_generator, rate_critic = self.settings.learning_rate_generator, self.settings.learning_rate_critic
        self.generator_optimiser = torch.optim.Adam(self.gan.generator.parameters(), rate_generator, self.settings.betas, fused=True)
        self.critic_optimiser = torch.optim.Adam(self.gan.critic.parameters(), rate_critic, self.settings.betas, fused=True)

    def train_step(self) -> dict[str, Tensor]:
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
            optimiser.param_groups[0]["lr"] = rate * factor
        # Train the critic, then the generator. Critic steps are numbered over the whole training for penalties of every k-th step.
        numbers: dict[str, Tensor] = {}
        with sharing_weights(self.gan.generator):  # its weights do not change during the critic steps
            iterations = self.settings.critic_iterations
            for number in range(self.step * iterations, (self.step + 1) * iterations):
                numbers |= self._critic_step(number)
        numbers["generator_loss"] = self._generator_step()
        # Follow the generator with the exponential moving average, from which samples are drawn.
        self.step += 1
        self.update_average(self.gan.generator, self.settings.ema)
        return numbers

    def _critic_step(self, number: int) -> dict[str, Tensor]:
        iterate_spectral_norms(self.gan.critic)
        real = self._real_batch()
        with autocast(self.settings.precision, self.device):
            with torch.no_grad():  # a critic step does not differentiate the generator
                fake = self.gan.generator(self._latent())
            # The critic sees real and generated pairs only after random augmentation with the same probability.
            real, fake = (self.gan.augmentation(pairs, self.random) for pairs in (real, fake))
            loss, numbers = self.criticise(real, fake, self.random, number)
        loss.backward()
        self.critic_optimiser.step()
        self.critic_optimiser.zero_grad(set_to_none=True)
        numbers = {"critic_loss": loss.detach(), **{name: value.detach() for name, value in numbers.items()}}
        # Adjust the probability of augmentation by the overfitting of the critic.
        if "critic_order" in numbers:
            numbers |= self.gan.augmentation.adapt(numbers["critic_order"], self.settings.batch_size)
        return numbers

    def _generator_step(self) -> Tensor:
        iterate_spectral_norms(self.gan.generator)
        real = self._real_batch()
        with _frozen(self.gan.critic), autocast(self.settings.precision, self.device):
            # The generator is differentiated through augmentation and critic.
            real, fake = (self.gan.augmentation(pairs, self.random) for pairs in (real, self.generate(self._latent())))
            loss: Tensor = self.gan.generator_loss(real, fake)
        loss.backward()
        self.generator_optimiser.step()
        self.generator_optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    def _real_batch(self) -> Tensor:
        """This process's rows of a random batch of real pairs, (n, 2, x, y), on the device."""
        pairs = encode_pairs(self.settings, *self.real_batch(self.settings.flip))
        return pairs.to(self.device, memory_format=torch.channels_last)

    def _latent(self) -> Tensor:
        return local_rows(torch.randn(self.settings.batch_size, self.gan.generator.latent_size, generator=self.random)).to(self.device)

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
        return {f"learning_rate_{name}": float(optimiser.param_groups[0]["lr"]) for name, optimiser in optimisers.items()}

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
