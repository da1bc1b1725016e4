"""Convolutions of the GANs: without bias, with or without spectral norm, computed in the fastest form for their shape.

Deep in wide networks the maps are small and the weights large: at width 96 the last strided layer of the critic has 29 million weights and
3x3 outputs. For such shapes torch's weight gradient is slow on CPUs, and a single matrix product is several times faster:

    gather    copy the k x k x c inputs under the window at each output position into a row, (positions, k * k * c)   [im2col]
    multiply  by the weight as a matrix (outputs, k * k * c)
    scatter   the transpose of gather: add each row to the input pixels from which it was copied                      [col2im]

A convolution is gather, then multiply; a transposed convolution is multiply, then scatter. Gather and scatter are linear and transposes of
each other, so each is the gradient of the other. Autograd can therefore differentiate any number of times, as the gradient penalty needs.
All other shapes use torch's convolutions, on a GPU, and for few channels on a CPU, with the derivatives of `second_derivatives.py`. A
transposed convolution of a single pixel is one matrix product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from angiosynth.generators.gan.second_derivatives import Geometry, PenalisedLayer, computed_dtype, convolve, has_fast_input_gradient
from angiosynth.generators.gan.spectral import SpectralScale, by_outputs
from angiosynth.generators.gan.subpixel import fold_enlargement, interleave

# On CPUs the matrix product was measured faster from a million weights on, if a batch has at most twice as many positions as channels.
LARGE_WEIGHT, SMALL_MAP = 1_000_000, 2


class Convolution(PenalisedLayer):
    """Convolution without bias, optionally with spectral norm, (n, inputs, h, w) to (n, outputs, h', w').

    Args:
        inputs, outputs: numbers of channels.
        kernel: side k of the kernel.
        form: "stride" halves the sides. "valid" has stride 1 and the given padding. "transposed" doubles the sides, but maps 1 x 1 inputs
            to outputs of side k - 2 padding. "resize" doubles the sides by nearest-neighbour enlargement before a 5x5 convolution.
        padding: of "valid", and of "transposed" for 1 x 1 inputs.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, form: Literal["stride", "valid", "transposed", "resize"], *, padding: int = 0
    ) -> None:
        super().__init__()
        self.form = form
        self.padding = padding
        transposed = form == "transposed"
        self.weight = nn.Parameter(torch.empty((inputs, outputs, kernel, kernel) if transposed else (outputs, inputs, kernel, kernel)))
        nn.init.normal_(self.weight, 0.0, 0.05)
        self.scale: SpectralScale | None = None
        self.shares = False
        self.shared: Tensor | None = None

    def add_spectral_norm(self) -> Convolution:
        """Divide the weight by its spectral norm in every following call; returns self."""
        self.scale = SpectralScale(self.weight, output_axis=1 if self.form == "transposed" else 0)
        return self

    def forward(self, x: Tensor) -> Tensor:
        weight = self._effective_weight()
        if self.form == "transposed" and x.shape[-1] == 1:  # the latent vector as a 1 x 1 map
            return transposed_convolution(x, weight, 1, self.padding, 0)
        if self.form == "transposed":
            return transposed_convolution(x, weight, 2, 2, 1)
        if self.form == "resize":
            return interleave(convolution(x, weight, Geometry(1, 1), self))
        return convolution(x, weight, Geometry(2, 2) if self.form == "stride" else Geometry(1, self.padding), self)

    def _effective_weight(self) -> Tensor:
        """Return the weight in the dtype of the computation, divided by its spectral norm if that was added, with enlargement folded in."""
        if self.shared is not None:
            return self.shared
        # Cast, or divide and cast in one pass over the weight.
        dtype = computed_dtype(self.weight)
        weight = self.weight.to(dtype) if self.scale is None else self.scale(self.weight, dtype)
        if self.form == "resize":
            weight = fold_enlargement(weight)
        if self.shares:
            self.shared = weight
        return weight


@contextmanager
def sharing_weights(network: nn.Module) -> Iterator[None]:
    """Cast and normalise each weight only once within this context, however often the network is called. Weights must not change meanwhile.

    For small batches these passes over the weights cost as much as the convolutions.
    """
    convolutions = [module for module in network.modules() if isinstance(module, Convolution)]
    for module in convolutions:
        module.shares = True
    try:
        yield
    finally:
        for module in convolutions:
            module.shares, module.shared = False, None


def iterate_spectral_norms(network: nn.Module) -> None:
    """Run one power iteration in every convolution with spectral norm; call it once before each training step of the network."""
    for module in network.modules():
        if isinstance(module, Convolution) and module.scale is not None:
            module.scale.iterate(module.weight)


def convolution(x: Tensor, weight: Tensor, geometry: Geometry, layer: PenalisedLayer) -> Tensor:
    """Convolve as `torch.nn.functional.conv2d`; differentiable twice.

    Args:
        x: (n, inputs, h, w).
        weight: (outputs, inputs, k, k).
        geometry: stride and padding; one group.
        layer: the layer that owns the weight.

    Returns:
        (n, outputs, h', w') with h' = (h + 2 padding - k) // stride + 1, w' likewise.
    """
    outputs, _, kernel, _ = weight.shape
    stride, padding = geometry.stride, geometry.padding
    window = _Window(kernel, stride, padding, *((side + 2 * padding - kernel) // stride + 1 for side in x.shape[2:]))
    if not window.matrix_product_is_faster(x, outputs, weight):
        # On a CPU torch's second derivative was measured to be as fast, and only some gradients by the input slower.
        if x.device.type == "cpu" and not has_fast_input_gradient(x, weight, geometry):
            return F.conv2d(x, weight, stride=stride, padding=padding)
        return convolve(x.to(weight.dtype), weight, None, geometry, layer)
    # Gather, then multiply; rows of the product are output positions in the order (n, h', w').
    patches: Tensor = _Gather.apply(x.to(weight.dtype), window)  # type: ignore[no-untyped-call]
    product = patches @ by_outputs(weight, 0).T
    return product.view(len(x), window.height, window.width, outputs).movedim(-1, 1)


def transposed_convolution(x: Tensor, weight: Tensor, stride: int, padding: int, output_padding: int) -> Tensor:
    """Transposed convolution as `torch.nn.functional.conv_transpose2d`; differentiable twice.

    Args:
        x: (n, inputs, h, w).
        weight: (inputs, outputs, k, k).
        stride, padding, output_padding: for both axes.

    Returns:
        (n, outputs, h', w') with h' = (h - 1) stride - 2 padding + k + output_padding, w' likewise.
    """
    inputs, outputs, kernel, _ = weight.shape
    if x.shape[2:] == (1, 1) and output_padding == 0:  # the window of the only input pixel is the output: one matrix product
        sides = slice(padding, kernel - padding)
        taps = weight.movedim(1, -1)[:, sides, sides]
        return (x.flatten(1).to(weight.dtype) @ taps.flatten(1)).view(-1, *taps.shape[1:]).movedim(-1, 1)
    height, width = ((side - 1) * stride - 2 * padding + kernel + output_padding for side in x.shape[2:])
    # A transposed convolution has the roles of the maps exchanged: the input is the small map, the output the large one.
    window = _Window(kernel, stride, padding, *x.shape[2:])
    if not window.matrix_product_is_faster(x, inputs, weight):
        return F.conv_transpose2d(x, weight, stride=stride, padding=padding, output_padding=output_padding)
    # Multiply, then scatter: each input position gives the values that it adds to its k x k window of the output.
    patches = x.to(weight.dtype).movedim(1, -1).reshape(-1, inputs) @ weight.movedim(1, -1).flatten(1)
    result: Tensor = _Scatter.apply(patches, window, (len(x), outputs, height, width))  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True)
class _Window:
    """A k x k window that slides over a large map; each of its positions belongs to one pixel of a small map (height, width)."""

    kernel: int
    stride: int
    padding: int
    height: int
    width: int

    def matrix_product_is_faster(self, x: Tensor, channels: int, weight: Tensor) -> bool:
        """Return whether a matrix product is faster than torch's convolution: on CPUs, for large weights and few positions."""
        if torch.compiler.is_exporting():  # exported programs accept any batch size, so the choice cannot depend on it
            return False
        positions = len(x) * self.height * self.width
        return x.device.type == "cpu" and weight.numel() >= LARGE_WEIGHT and positions <= SMALL_MAP * channels

    def gather(self, x: Tensor) -> Tensor:
        """Copy the input values under the window at each position: (n, c, h, w) -> (n * height * width, k * k * c)."""
        n, c, h, w = x.shape
        # Pad with zeros: `padding` before the map, and after it as many as the last window position reaches beyond.
        reach = [(side - 1) * self.stride + self.kernel - self.padding for side in (self.height, self.width)]
        x = F.pad(x.movedim(1, -1), (0, 0, self.padding, max(0, reach[1] - w), self.padding, max(0, reach[0] - h))).contiguous()
        # In channels-last order the k pixels of a window row are k * c consecutive numbers. All windows form one strided view (windows
        # overlap, nothing is copied); `reshape` makes the only copy.
        row = x.shape[2] * c
        shape = (n, self.height, self.width, self.kernel, self.kernel * c)
        strides = (x.shape[1] * row, self.stride * row, self.stride * c, row, 1)
        return x.as_strided(shape, strides).reshape(n * self.height * self.width, -1)

    def scatter(self, patches: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """Transpose of `gather`, (n * height * width, k * k * c) -> `shape`: values of overlapping windows are summed."""
        n, c, h, w = shape
        values = patches.view(n, self.height, self.width, self.kernel, self.kernel, c)
        values = values.to(torch.promote_types(values.dtype, torch.float32))  # sums in bfloat16 would lose precision
        reach = [(side - 1) * self.stride + 1 for side in (self.height, self.width)]
        # The sum over the window is separable: first add its k columns, then its k rows. This takes 2 k slice additions instead of k * k.
        rows = values.new_zeros(n, self.height, max(reach[1] + self.kernel - 1, w + self.padding), self.kernel, c)
        for tap in range(self.kernel):
            rows[:, :, tap : tap + reach[1] : self.stride] += values[:, :, :, :, tap]
        padded = values.new_zeros(n, max(reach[0] + self.kernel - 1, h + self.padding), rows.shape[2], c)
        for tap in range(self.kernel):
            padded[:, tap : tap + reach[0] : self.stride] += rows[:, :, :, tap]
        # Cut off the padding, and convert to the dtype of the rows.
        inside = padded[:, self.padding : self.padding + h, self.padding : self.padding + w]
        return patches.new_empty(shape).to(memory_format=torch.channels_last).copy_(inside.movedim(-1, 1))


class _Gather(torch.autograd.Function):
    """Autograd function of `_Window.gather`; its gradient is `_Scatter`."""

    @staticmethod
    def forward(context: Any, x: Tensor, window: _Window) -> Tensor:
        context.window, context.shape = window, x.shape
        return window.gather(x)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Scatter.apply(gradient, context.window, context.shape), None  # type: ignore[no-untyped-call]


class _Scatter(torch.autograd.Function):
    """Autograd function of `_Window.scatter`; its gradient is `_Gather`."""

    @staticmethod
    def forward(context: Any, patches: Tensor, window: _Window, shape: tuple[int, int, int, int]) -> Tensor:
        context.window = window
        return window.scatter(patches, shape)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _Gather.apply(gradient, context.window), None, None  # type: ignore[no-untyped-call]
