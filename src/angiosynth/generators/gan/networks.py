"""Generator and critics of Kossen et al. 2021, for patch sizes that are 3 or 4 times a power of two.

No convolution has a bias. Initial weights have mean 0 and standard deviation 0.05. For 96x96 patches and width 96 the generator
(latent 128, batch norm) has 44,093,952 weights and the critic of the Wasserstein GANs 39,211,200.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.compute.distributed import BatchNorm2d, gathered
from angiosynth.generators.gan.convolution import Convolution
from angiosynth.generators.gan.instance import InstanceNorm

Norm = Literal["batch", "instance", "spectral"]
CHANNELS = 2  # image and label
KERNEL = 5
SLOPE = 0.2  # negative slope of the leaky rectifier


def pyramid(patch_size: int) -> tuple[int, int]:
    """Return the side of the smallest map, and the number of doublings from it to `patch_size`: 96 -> (3, 5), 64 -> (4, 4)."""
    base, levels = patch_size, 0
    while base % 2 == 0 and base > 4:
        base, levels = base // 2, levels + 1
    return base, levels


class LeakyReLU(nn.Module):
    """In-place max(x, 0.2 x) whose backward pass is differentiable only in the incoming gradient.

    The gradient penalty differentiates the backward pass. The slope is piecewise constant in x, so its derivative by x is zero. torch's
    LeakyReLU computes these zeros and propagates them through the whole critic, which takes a sixth of the arithmetic of a critic step.
    """

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _LeakyReLU.apply(x)  # type: ignore[no-untyped-call]
        return y


class _LeakyReLU(torch.autograd.Function):
    """Saves the output for the backward pass, since the input is overwritten; both have the same sign."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        y = F.leaky_relu_(x, SLOPE)
        context.mark_dirty(y)
        context.save_for_backward(y)
        return y

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        (y,) = context.saved_tensors
        # `detach` cuts the path through y, whose second derivative is zero.
        slopes_applied: Tensor = torch.ops.aten.leaky_relu_backward(gradient, y.detach(), SLOPE, True)
        return slopes_applied


class NoiseMaps(nn.Module):
    """Adds a noise map to the features, scaled by a learnt weight per channel (after Karras et al. 2019, section 3.2).

    Noise maps provide the grain of the scan, so that the latent vector can encode the course of the vessels.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.size = side * side
        self.weight = nn.Parameter(torch.empty(channels, 1, 1, 1))
        nn.init.normal_(self.weight, 0.0, 0.05)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Add noise (n, size) to features (n, channels, side, side)."""
        # A product of a column and a row is added to a matrix (pixels, channels), as features have their channels last in memory: a
        # convolution of one channel takes many times as long on a CPU.
        pixels = x.movedim(1, -1)
        column, row = noise.reshape(-1, 1), self.weight.flatten()[None]
        return torch.addmm(pixels.reshape(-1, len(self.weight)), column.to(x.dtype), row.to(x.dtype)).view(pixels.shape).movedim(-1, 1)


class Generator(nn.Module):
    """Map latent vectors (n, latent_size) to pairs (n, 2, size, size) in [-1, 1]; channel 0 is the image, 1 the label.

    Attributes:
        latent_size: length of the input: `vector_size` values, then the pixels of all noise maps, all standard normal.
    """

    def __init__(
        self,
        vector_size: int,
        patch_size: int,
        width: int,
        norm: Norm,
        upsampling: Literal["resize", "transposed"],
        noise: bool = False,
        sharpen: bool = False,
    ) -> None:
        # Seven parameters, each a setting: networks import torch alone, so the settings section is unpacked in models.py.
        super().__init__()
        base, levels = pyramid(patch_size)
        channels = [width * 2 ** (levels - 1 - level) for level in range(levels)] + [width if sharpen else CHANNELS]
        kernel = KERNEL if base == 3 else base
        first = Convolution(vector_size, channels[0], kernel, "transposed", padding=(kernel - base) // 2)
        convolutions = [first, *(Convolution(a, b, KERNEL, upsampling) for a, b in itertools.pairwise(channels))]
        blocks: list[nn.Module] = []
        if sharpen:  # features at full resolution; otherwise each pixel is a sum of features at half the resolution
            convolutions.append(Convolution(width, CHANNELS, 3, "valid", padding=1))
        for level, (convolution, outputs) in enumerate(zip(convolutions[:-1], channels, strict=False)):
            blocks += _normed(convolution, outputs, norm)
            if noise and level > 0:
                blocks.append(NoiseMaps(outputs, base * 2**level))
            blocks.append(nn.ReLU(inplace=True))
        blocks.append(convolutions[-1])
        self.blocks = nn.Sequential(*blocks)
        self.sizes = [vector_size, *(block.size for block in blocks if isinstance(block, NoiseMaps))]
        self.latent_size = sum(self.sizes)

    def forward(self, latent: Tensor) -> Tensor:
        vector, *noise = latent.split(self.sizes, dim=1)
        maps = iter(noise)
        x = vector[:, :, None, None]
        for block in self.blocks:
            x = block(x, next(maps)) if isinstance(block, NoiseMaps) else block(x)
        return torch.tanh(x.float())


class Critic(nn.Module):
    """Map pairs (n, 2, size, size) to scores (n,): strided convolutions down to the smallest map, then one convolution to a scalar."""

    def __init__(self, patch_size: int, width: int, norm: Norm) -> None:
        super().__init__()
        levels = pyramid(patch_size)[1]
        self.body = _strided(width, levels, norm)
        self.head = Score(width * 2 ** (levels - 1))

    def forward(self, pairs: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(pairs))
        return scores


class Score(nn.Module):
    """Mean of a 5x5 convolution with padding 1 to one channel, (n, channels, side, side) to (n,): one value of 3x3 maps, four of 4x4.

    Computed as a weighted sum of the map, with the mean of the taps through which a pixel adds to the values as its weight.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, channels, KERNEL, KERNEL))
        nn.init.normal_(self.weight, 0.0, 0.05)

    def forward(self, x: Tensor) -> Tensor:
        values = x.shape[-1] - KERNEL + 3  # along a side
        unused = 2 - values  # taps at each end that only meet the padding
        weight = self.weight[:, :, unused : KERNEL - unused, unused : KERNEL - unused]
        # A sum instead of a matrix product, which autocast would compute in bfloat16.
        return (x.float() * F.avg_pool2d(weight, values, stride=1)).sum(dim=(1, 2, 3))


class MinibatchDiscrimination(nn.Module):
    """Minibatch discrimination: closeness of each sample's features to those of the other samples (Salimans et al. 2016, section 3.2)."""

    def __init__(self, features: int, kernels: int, dimensions: int) -> None:
        super().__init__()
        self.kernels, self.dimensions = kernels, dimensions
        self.tensor = nn.Linear(features, kernels * dimensions, bias=False)
        nn.init.normal_(self.tensor.weight, 0.0, 0.05)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (n, features) to (n, kernels), the sums over the other samples of exp(-L1 distance)."""
        m = self.tensor(features).float().view(-1, self.kernels, self.dimensions)
        distance = (m[:, None] - gathered(m)[None]).abs().sum(dim=3)
        return torch.exp(-distance).sum(dim=1) - 1.0  # each sample's distance to itself gives exp(0) = 1


class Discriminator(nn.Module):
    """Discriminator of DCGAN, pairs (n, 2, size, size) to logits (n,): convolutions with batch norm, then minibatch discrimination."""

    def __init__(self, patch_size: int, width: int, kernels: int, dimensions: int) -> None:
        super().__init__()
        base, levels = pyramid(patch_size)
        self.body = _strided(width, levels - 1, "batch")
        self.reduce = Convolution(width * 2 ** (levels - 2), 50, KERNEL, "valid")
        features = 50 * (2 * base - KERNEL + 1) ** 2
        self.minibatch = MinibatchDiscrimination(features, kernels, dimensions)
        self.score = nn.Linear(features + kernels, 1)
        nn.init.normal_(self.score.weight, 0.0, 0.05)
        nn.init.zeros_(self.score.bias)

    def features(self, pairs: Tensor) -> Tensor:
        """Return the features before minibatch discrimination: (n, 200) for 96x96 patches."""
        reduced: Tensor = self.reduce(self.body(pairs))
        return reduced.flatten(1).float()

    def forward(self, pairs: Tensor) -> Tensor:
        features = self.features(pairs)
        logits: Tensor = self.score(torch.cat([features, self.minibatch(features)], dim=1))
        return logits.float().squeeze(1)


def _strided(width: int, levels: int, norm: Norm) -> nn.Sequential:
    """Stride-2 convolutions with channels 2-w-2w-4w-...; the first has no batch or instance norm (Radford et al. 2016)."""
    channels = [CHANNELS] + [width * 2**level for level in range(levels)]
    blocks: list[nn.Module] = []
    for level, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
        convolution = Convolution(inputs, outputs, KERNEL, "stride")
        blocks += [convolution] if level == 0 and norm != "spectral" else _normed(convolution, outputs, norm)
        blocks.append(LeakyReLU())
    return nn.Sequential(*blocks)


def _normed(convolution: Convolution, channels: int, norm: Norm) -> list[nn.Module]:
    """The convolution followed by its normalisation."""
    makers: dict[Norm, Callable[[], list[nn.Module]]] = {
        "batch": lambda: [convolution, BatchNorm2d(channels)],
        "instance": lambda: [convolution, InstanceNorm()],
        "spectral": lambda: [convolution.add_spectral_norm()],
    }
    return makers[norm]()
