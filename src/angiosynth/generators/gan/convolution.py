"""The convolutions of the GANs: no bias, spectrally normed or not, in the form that is fastest where they run.

Deep in wide networks the maps are small and the weights large: at width 96 the last of the critic's strided layers has 29 million weights
and 3x3 outputs. There processors are several times faster with one matrix product over the patches of the input
than with a convolution, whose gradient for the weights is not made for such shapes. All else takes torch's convolutions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Where a matrix product was measured faster on processors: a million weights and more, positions over the batch up to twice the channels.
LARGE_WEIGHT, SMALL_MAP = 1_000_000, 2


class Convolution(nn.Module):
    """A convolution without bias, plain, transposed or after nearest-neighbour enlargement, spectrally normed or not."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, how: Literal["stride", "valid", "transposed", "resize"], *, padding: int = 0
    ) -> None:
        super().__init__()
        self.how = how
        self.padding = padding
        transposed = how == "transposed"
        self.weight = nn.Parameter(torch.empty((inputs, outputs, kernel, kernel) if transposed else (outputs, inputs, kernel, kernel)))
        nn.init.normal_(self.weight, 0.0, 0.05)
        self.scale: SpectralScale | None = None
        self.shares = False
        self.shared: Tensor | None = None

    def add_spectral_norm(self) -> Convolution:
        """Divide by the spectral norm from now on."""
        self.scale = SpectralScale(self.weight, output_axis=1 if self.how == "transposed" else 0)
        return self

    def forward(self, x: Tensor) -> Tensor:
        weight = self._ready()
        if self.how == "transposed" and x.shape[-1] == 1:
            return transposed_convolution(x, weight, 1, self.padding, 0)
        if self.how == "transposed":
            return transposed_convolution(x, weight, 2, 2, 1)
        if self.how == "resize":
            return F.pixel_shuffle(convolution(x, fold_enlargement(weight), 1, 1), 2)
        if self.how == "stride":
            return convolution(x, weight, 2, 2)
        return convolution(x, weight, 1, self.padding)

    def _ready(self) -> Tensor:
        """The weight over its spectral norm, in the dtype of the arithmetic."""
        if self.shared is not None:
            return self.shared
        where = self.weight.device.type
        dtype = torch.get_autocast_dtype(where) if torch.is_autocast_enabled(where) else self.weight.dtype
        ready = self.weight.to(dtype) if self.scale is None else self.scale(self.weight, dtype)
        if self.shares:
            self.shared = ready
        return ready


@contextmanager
def sharing_weights(network: nn.Module) -> Iterator[None]:
    """Cast and norm each weight once, however often the network is called inside.

    At small batches the passes over the weights cost as much as the arithmetic. Inside, weights must not change.
    """
    convolutions = [module for module in network.modules() if isinstance(module, Convolution)]
    for module in convolutions:
        module.shares = True
    try:
        yield
    finally:
        for module in convolutions:
            module.shares, module.shared = False, None


class SpectralScale(nn.Module):
    """Divides a kernel by its largest singular value as a matrix of its output channels (Miyato et al. 2018).

    `iterate` makes one step of power iteration; `forward` is differentiable in the weight, through sigma = u^T W v as well.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, output_axis: int, iterations_at_start: int = 15) -> None:
        super().__init__()
        self.output_axis = output_axis
        matrix = _by_outputs(weight.detach(), output_axis)
        self.register_buffer("u", F.normalize(torch.randn(matrix.shape[0]), dim=0))
        self.register_buffer("v", F.normalize(torch.randn(matrix.shape[1]), dim=0))
        for _ in range(iterations_at_start):
            self.iterate(weight)

    @torch.no_grad()
    def iterate(self, weight: Tensor) -> None:
        """Bring the singular vectors one power iteration nearer to those of `weight`."""
        matrix = _by_outputs(weight, self.output_axis)
        self.v.copy_(F.normalize(matrix.T @ self.u, dim=0))
        self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """W / sigma in `dtype`, of the shape of `weight`."""
        scaled: Tensor = _Scaled.apply(weight, self.sigma(weight), self.u, self.v, self.output_axis, dtype)  # type: ignore[no-untyped-call]
        return scaled

    @torch.no_grad()
    def sigma(self, weight: Tensor) -> Tensor:
        """u^T W v, a scalar."""
        with torch.autocast(weight.device.type, enabled=False):
            return torch.dot(self.u, _by_outputs(weight, self.output_axis) @ self.v)


def iterate_spectral_norms(network: nn.Module) -> None:
    """One power iteration in every spectrally normed convolution: once before a network's training step."""
    for module in network.modules():
        if isinstance(module, Convolution) and module.scale is not None:
            module.scale.iterate(module.weight)


class _Scaled(torch.autograd.Function):
    """W / sigma. Its gradient, (G - <G, W> / sigma u v^T) / sigma, takes three passes over the weight written out, eight otherwise."""

    @staticmethod
    def forward(context: Any, weight: Tensor, sigma: Tensor, u: Tensor, v: Tensor, output_axis: int, dtype: torch.dtype) -> Tensor:
        inverse = sigma.reciprocal()
        context.save_for_backward(weight, u, v, inverse)
        context.output_axis = output_axis
        return torch.mul(weight, inverse, out=torch.empty_like(weight, dtype=dtype))

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, u, v, inverse = context.saved_tensors
        wide = gradient * inverse.view(1, 1, 1, 1)  # four axes, so that a gradient in bfloat16 becomes float32
        along = torch.dot(_flat(wide), _flat(weight)) * inverse
        sides = weight.shape[2:]
        rows = u.view(-1, 1, 1, 1) if context.output_axis == 0 else u.view(1, -1, 1, 1)
        columns = v.view(*sides, -1).permute(2, 0, 1).unsqueeze(context.output_axis)
        return wide.addcmul_(rows * -along, columns), None, None, None, None, None


def _by_outputs(weight: Tensor, output_axis: int) -> Tensor:
    """(outputs, k * k * inputs), a view where the inputs come last in memory."""
    return weight.movedim(output_axis, 0).movedim(1, -1).flatten(1)


def _flat(weight: Tensor) -> Tensor:
    return weight.movedim(1, -1).reshape(-1)


def convolution(x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    """(n, inputs, h, w) and (outputs, inputs, k, k) -> (n, outputs, h', w'), differentiable twice."""
    outputs, _, kernel, _ = weight.shape
    small = _Window(kernel, stride, padding, *((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]))
    if not small.preferred(x, outputs, weight):
        return F.conv2d(x, weight, stride=stride, padding=padding)
    patches: Tensor = _Gather.apply(x.to(weight.dtype), small)  # type: ignore[no-untyped-call]
    product = patches @ _by_outputs(weight, 0).T
    return product.view(len(x), small.height, small.width, outputs).movedim(-1, 1)


def transposed_convolution(x: Tensor, weight: Tensor, stride: int, padding: int, output_padding: int) -> Tensor:
    """(n, inputs, h, w) and (inputs, outputs, k, k) -> (n, outputs, h', w'), differentiable twice."""
    inputs, outputs, kernel, _ = weight.shape
    height, width = ((side - 1) * stride - 2 * padding + kernel + output_padding for side in x.shape[2:])
    small = _Window(kernel, stride, padding, *x.shape[2:])
    if not small.preferred(x, inputs, weight):
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=output_padding)
    patches = x.to(weight.dtype).movedim(1, -1).reshape(-1, inputs) @ weight.movedim(1, -1).flatten(1)
    whole: Tensor = _Scatter.apply(patches, small, (len(x), outputs, height, width))  # type: ignore[no-untyped-call]
    return whole


@dataclass(frozen=True)
class _Window:
    """How a k x k window moves over a large map to the positions of a small one of height x width."""

    kernel: int
    stride: int
    padding: int
    height: int
    width: int

    def preferred(self, x: Tensor, channels: int, weight: Tensor) -> bool:
        """Whether the weight is so large and the positions so few that a matrix product is the faster way."""
        positions = len(x) * self.height * self.width
        return x.device.type == "cpu" and weight.numel() >= LARGE_WEIGHT and positions <= SMALL_MAP * channels

    def gather(self, x: Tensor) -> Tensor:
        """(n, c, h, w) -> (n * height * width, k * k * c): what the window sees at each position."""
        n, c, h, w = x.shape
        more = [(side - 1) * self.stride + self.kernel - self.padding for side in (self.height, self.width)]
        x = F.pad(x.movedim(1, -1), (0, 0, self.padding, max(0, more[1] - w), self.padding, max(0, more[0] - h))).contiguous()
        row = x.shape[2] * c
        shape = (n, self.height, self.width, self.kernel, self.kernel * c)
        strides = (x.shape[1] * row, self.stride * row, self.stride * c, row, 1)
        return x.as_strided(shape, strides).reshape(n * self.height * self.width, -1)

    def scatter(self, patches: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """The transpose of `gather`: sums what overlaps, first along rows, then along columns."""
        n, c, h, w = shape
        taken = patches.view(n, self.height, self.width, self.kernel, self.kernel, c)
        taken = taken.to(torch.promote_types(taken.dtype, torch.float32))  # sums in bfloat16 would lose bits
        reach = [(side - 1) * self.stride + 1 for side in (self.height, self.width)]
        rows = taken.new_zeros(n, self.height, max(reach[1] + self.kernel - 1, w + self.padding), self.kernel, c)
        for tap in range(self.kernel):
            rows[:, :, tap : tap + reach[1] : self.stride] += taken[:, :, :, :, tap]
        whole = taken.new_zeros(n, max(reach[0] + self.kernel - 1, h + self.padding), rows.shape[2], c)
        for tap in range(self.kernel):
            whole[:, tap : tap + reach[0] : self.stride] += rows[:, :, :, tap]
        inside = whole[:, self.padding : self.padding + h, self.padding : self.padding + w]
        return patches.new_empty(shape).to(memory_format=torch.channels_last).copy_(inside.movedim(-1, 1))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, window: _Window) -> Tensor:
        context.window, context.shape = window, x.shape
        return window.gather(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(gradient, context.window, context.shape), None  # type: ignore[no-untyped-call]


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, patches: Tensor, window: _Window, shape: tuple[int, int, int, int]) -> Tensor:
        context.window = window
        return window.scatter(patches, shape)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(gradient, context.window), None, None  # type: ignore[no-untyped-call]


def fold_enlargement(weight: Tensor) -> Tensor:
    """The kernel that does nearest-neighbour enlargement by two and a 5x5 convolution in one.

    Each of the four output phases of a pixel sees only 3x3 input pixels, so 5x5 taps fold into 3x3 sums: the same
    result with 9/25 of the arithmetic.

    Args:
        weight: (outputs, inputs, 5, 5).

    Returns:
        (4 * outputs, inputs, 3, 3), in the order that `pixel_shuffle` takes.
    """
    even = [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]]
    odd = [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    taps = torch.tensor([even, odd], dtype=weight.dtype, device=weight.device)
    folded = torch.einsum("pak,oikl,qbl->opqiab", taps, weight, taps)
    outputs, inputs = weight.shape[:2]
    return folded.reshape(4 * outputs, inputs, 3, 3)
