"""R3GAN's networks: sizes, first weights, blocks that begin as the identity."""

from __future__ import annotations

import math

import pytest
import torch

from angiosynth.generators.gan.grouped import GroupedConvolution
from angiosynth.generators.gan.residual import GAIN, Enlarge, Reduce, ResidualBlock, ResidualCritic, ResidualGenerator, Shape

SMALL = Shape(width=2, blocks=1, expansion=2, group_channels=2)


def _random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [16, 24, 32, 48, 64, 96, 128])
def test_every_patch_size_goes_through(size: int) -> None:
    generator, critic = ResidualGenerator(5, size, SMALL, noise=True), ResidualCritic(size, SMALL)
    with torch.no_grad():
        pairs = generator(torch.randn(3, generator.latent_size, generator=_random()))
        assert pairs.shape == (3, 2, size, size)
        assert pairs.abs().max() <= 1
        assert critic(pairs).shape == (3,)


def test_channels_double_up_to_eight_times_the_width() -> None:
    assert Shape(16, 1, 1, 16).channels(32) == [128, 64, 32, 16]
    assert Shape(96, 1, 1, 16).channels(96) == [768, 768, 768, 384, 192, 96]


def test_a_block_begins_as_the_identity_and_does_not_stay_it() -> None:
    block = ResidualBlock(4, 2, 4, branches=3)
    x = torch.randn(2, 4, 5, 6, generator=_random())
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    with torch.no_grad():
        for weight in block.parameters():
            weight.sub_(0.01 * weight.grad if weight.grad is not None else 0)
    assert not torch.equal(block(x), x)


def test_a_block_by_hand() -> None:
    block = ResidualBlock(1, 1, 1, branches=1)
    with torch.no_grad():
        for layer, weight in ((block.expand, 2.0), (block.project, -3.0)):
            layer.weight.fill_(weight)
        block.mix.weight.zero_()
        block.mix.weight[0, 0, 1, 0] = 1.0  # the pixel to the left
        assert block.expand.bias is not None
        assert block.mix.bias is not None
        block.expand.bias.fill_(1.0)
        block.mix.bias.fill_(-0.5)
    x = torch.tensor([[[[1.0, -2.0]]]])
    # expand: 3, -3; leaky: 3, -0.6; from the left: 0, 3; bias: -0.5, 2.5; leaky: -0.1, 2.5; project: 0.3, -7.5
    torch.testing.assert_close(block(x), torch.tensor([[[[1.3, -9.5]]]]))


def test_first_weights_are_scaled_by_the_number_of_blocks() -> None:
    torch.manual_seed(2)
    block = ResidualBlock(64, 2, 16, branches=16)
    for layer in (block.expand, block.mix):
        inputs = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx(GAIN * 16**-0.25 / math.sqrt(inputs), rel=0.05)
    assert not block.project.weight.any()


@pytest.mark.parametrize(("expansion", "group", "groups"), [(2, 4, 4), (1, 8, 1), (2, 5, 1)])
def test_groups_have_the_channels_that_were_asked_for(expansion: int, group: int, groups: int) -> None:
    assert ResidualBlock(8, expansion, group, branches=1).mix.geometry.groups == groups


def test_enlarging_and_reducing_keep_a_constant_and_halve_or_double_the_sides() -> None:
    for layer, side in ((Enlarge(1, 1), 8), (Reduce(1, 1), 2)):
        with torch.no_grad():
            layer.convolution.weight.fill_(2.0)
            torch.testing.assert_close(layer(torch.ones(1, 1, 4, 4)), torch.full((1, 1, side, side), 2.0))


def test_reducing_is_bilinear() -> None:
    layer = Reduce(1, 1)
    x = torch.randn(2, 1, 6, 6, generator=_random())
    with torch.no_grad():
        layer.convolution.weight.fill_(1.0)
        torch.testing.assert_close(layer(x), torch.nn.functional.interpolate(x, scale_factor=0.5, mode="bilinear"))


def test_first_scores_and_features_have_the_size_of_their_inputs() -> None:
    """Neither vanishes nor explodes with the number of levels."""
    torch.manual_seed(4)
    for size in (16, 64):
        shape = Shape(4, 2, 2, 8)
        scores = ResidualCritic(size, shape)(torch.randn(16, 2, size, size, generator=_random()))
        assert 0.003 < scores.std().item() < 3
        drawn = torch.atanh(ResidualGenerator(16, size, shape, noise=False)(torch.randn(16, 16, generator=_random())).clamp(-0.999, 0.999))
        assert 0.1 < drawn.std().item() < 3


def test_noise_is_part_of_the_input_and_changes_less_than_the_vector() -> None:
    torch.manual_seed(1)
    generator = ResidualGenerator(6, 32, Shape(4, 1, 2, 4), noise=True)
    assert generator.sizes == [6, 8**2, 16**2, 32**2]
    assert generator.latent_size == sum(generator.sizes)
    latent = torch.randn(2, generator.latent_size, generator=_random())
    other = latent.clone()
    other[:, 6:] = torch.randn(2, generator.latent_size - 6, generator=_random(1))
    with torch.no_grad():
        first, second, third = generator(latent), generator(other), generator(latent.flip(0))
    assert 0 < (first - second).std() < (first - third).std()


def test_no_layer_mixes_samples() -> None:
    torch.manual_seed(1)
    critic = ResidualCritic(16, SMALL)
    with torch.no_grad():
        for weight in critic.parameters():
            weight.add_(torch.randn(weight.shape, generator=_random()) * 0.1)
        pairs = torch.randn(4, 2, 16, 16, generator=_random())
        torch.testing.assert_close(critic(pairs)[1:2], critic(pairs[1:2]))


def test_scores_have_the_digits_of_float32_under_autocast() -> None:
    torch.manual_seed(1)
    critic = ResidualCritic(16, SMALL)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        scores = critic(torch.randn(8, 2, 16, 16, generator=_random()))
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())


def test_all_convolutions_differentiate_twice_fast() -> None:
    kinds = {type(module) for module in ResidualCritic(16, SMALL).modules() if hasattr(module, "weight") and module.weight.ndim == 4}
    assert kinds == {GroupedConvolution}
