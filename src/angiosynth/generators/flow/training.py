"""Training step of a flow; `generators.loop` holds the loop."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from angiosynth.compute.distributed import local_rows, parallel
from angiosynth.compute.precision import autocast, place
from angiosynth.data.patches import PatchSet
from angiosynth.generators.base import Probe, TrainedGenerator
from angiosynth.generators.flow.encoding import THRESHOLD, channel_statistics, encode_pairs
from angiosynth.generators.flow.kinds import FlowSettings
from angiosynth.generators.flow.models import build_flow
from angiosynth.generators.flow.transport import Flow, VelocityLoss, logit_normal
from angiosynth.generators.graphs import Graphs, Numbers
from angiosynth.generators.loop import Training, check_patches, copied, run_training
from angiosynth.generators.optimisers import adam, rate_of, set_rate
from angiosynth.generators.sampling import NoiseSampler
from angiosynth.generators.schedule import linear_decay
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import Recorder


class FlowTraining(Training[FlowSettings]):
    """Training state of a flow: the network, its moving average and the optimiser, besides the state of `Training`."""

    average: Flow

    def __init__(self, settings: FlowSettings, patches: PatchSet) -> None:
        super().__init__(settings, patches)
        self.flow = build_flow(settings, patches.size)
        self.average = build_flow(settings, patches.size).requires_grad_(False)  # equal weights, since the seed is the same
        mean, deviation = self._statistics()
        for flow in (self.flow, self.average):
            flow.mean.copy_(mean)
            flow.deviation.copy_(deviation)
            place(flow, self.device)
        self.loss = parallel(VelocityLoss(self.flow))
        self.optimiser = adam(self.flow, settings.learning_rate, settings.betas, self.device)
        self.graphs = Graphs(self.draws, self.optimiser)

    def train_step(self) -> Numbers:
        """Fit the velocity at one random time on each path of a batch.

        Returns:
            The loss and its terms for image and label, by name.
        """
        settings = self.settings
        set_rate(self.optimiser, settings.learning_rate * (linear_decay(self.step, settings.steps) if settings.decay else 1.0))
        numbers = self.graphs.run("velocity", self._fit_velocity, *self._paths())
        self.step += 1
        self.update_average(self.flow, settings.ema)
        return numbers

    def _fit_velocity(self, ends: Tensor, noise: Tensor, times: Tensor) -> Numbers:
        # Regress the velocity at random points of straight paths from noise to real pairs.
        with autocast(self.settings.precision, self.device):
            loss, numbers = self.loss(ends, noise, times)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return {"velocity_loss": loss.detach(), **{name: value.detach() for name, value in numbers.items()}}

    def _paths(self) -> tuple[Tensor, Tensor, Tensor]:
        """This process's rows of a batch: ends of paths (n, 2, x, y), their starts, noise (n, 2, x, y), and times (n,)."""
        settings = self.settings
        pairs = self._encoded(*self.real_batch(settings.flip))
        # Every process draws the random numbers of the whole batch and takes its rows, so that the random states stay equal.
        noise = local_rows(torch.randn(settings.batch_size, *self.flow.shape, generator=self.random))
        times = local_rows(logit_normal(settings.batch_size, settings.time_mean, settings.time_deviation, self.random))
        ends = self.flow.standardised(pairs.to(self.device, memory_format=torch.channels_last, non_blocking=True))
        return ends, noise.to(self.device, memory_format=torch.channels_last, non_blocking=True), times.to(self.device, non_blocking=True)

    def _encoded(self, image: Tensor, label: Tensor) -> Tensor:
        return encode_pairs(self.settings, image, label)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        return channel_statistics(self.settings, self.patches)

    def rates(self) -> dict[str, float]:
        """Return the learning rate of the last step."""
        return {"learning_rate": rate_of(self.optimiser)}

    def averaged(self) -> Flow:
        """Return the averaged flow; it has no buffers that training changes."""
        return self.average

    def sampler(self) -> NoiseSampler:
        """Return a sampler of the averaged flow."""
        return flow_sampler(self.average, self.settings, self.device)

    def audited(self) -> dict[str, dict[str, Tensor]]:
        """Return the averaged flow after the last step, which has seen the training patches most often."""
        return {"last": copied(self.average)}

    def modules(self) -> dict[str, nn.Module | torch.optim.Optimizer]:
        return {"flow": self.flow, "average": self.average, "optimiser": self.optimiser}


def flow_sampler(flow: Flow, settings: FlowSettings, device: torch.device) -> NoiseSampler:
    """Return a sampler that draws noise and integrates the flow's velocity."""
    return NoiseSampler(flow, (flow.size,), THRESHOLD, settings.precision, device)


def train_flow(
    name: str, settings: FlowSettings, patches: PatchSet, probe: Probe, checkpoints: Checkpoints, recorder: Recorder
) -> TrainedGenerator:
    """Train a flow on the patches of training patients and select a generator: see `Family.train`."""
    check_patches(patches)
    return run_training(name, FlowTraining(settings, patches), probe, checkpoints, recorder)
