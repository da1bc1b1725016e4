"""Sizes, weights and identities of the GANs' networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from angiosynth.generators.gan.convolution import Convolution
from angiosynth.generators.gan.networks import (
    Critic,
    Discriminator,
    Generator,
    MinibatchDiscrimination,
    NoiseMaps,
    Score,
    pyramid,
)

PUBLISHED_GENERATOR = 44_093_952
PUBLISHED_CRITIC = 39_211_200


def _weights(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_published_numbers_of_weights() -> None:
    with torch.device("meta"):
        assert _weights(Generator(128, 96, 96, "batch", "transposed")) == PUBLISHED_GENERATOR
        assert _weights(Generator(128, 96, 96, "batch", "resize")) == PUBLISHED_GENERATOR
        assert _weights(Critic(96, 96, "instance")) == PUBLISHED_CRITIC


def test_spectral_norm_adds_no_weights() -> None:
    assert _weights(Critic(32, 4, "spectral")) == _weights(Critic(32, 4, "instance"))


@pytest.mark.parametrize(
    ("size", "expected"), [(96, (3, 5)), (64, (4, 4)), (48, (3, 4)), (32, (4, 3)), (24, (3, 3)), (16, (4, 2)), (128, (4, 5))]
)
def test_pyramid(size: int, expected: tuple[int, int]) -> None:
    assert pyramid(size) == expected
    base, levels = expected
    assert base * 2**levels == size


def _sides(network: nn.Module, run: torch.Tensor) -> list[int]:
    sides: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: sides.append(output.shape[-1]))
        for module in network.modules()
        if isinstance(module, Convolution)
    ]
    with torch.no_grad():
        network(run)
    for hook in hooks:
        hook.remove()
    return sides


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_the_generator_doubles_up_to_96(upsampling: str) -> None:
    generator = Generator(8, 96, 2, "batch", upsampling)  # type: ignore[arg-type]
    assert _sides(generator, torch.zeros(2, 8)) == [3, 6, 12, 24, 48, 96]


def test_the_critic_halves_down_to_three() -> None:
    assert _sides(Critic(96, 2, "instance"), torch.zeros(2, 2, 96, 96)) == [48, 24, 12, 6, 3]


@pytest.mark.parametrize("side", [3, 4])
def test_a_score_is_the_mean_of_a_convolution(side: int) -> None:
    score, x = Score(6), torch.randn(5, 6, side, side, generator=_seeded())
    expected = F.conv2d(x, score.weight, padding=1).mean(dim=(1, 2, 3))
    torch.testing.assert_close(score(x), expected)
    (ours,) = torch.autograd.grad(score(x).square().sum(), score.weight)
    (torchs,) = torch.autograd.grad(expected.square().sum(), score.weight)
    torch.testing.assert_close(ours, torchs, atol=1e-4, rtol=1e-4)


def test_the_discriminator_reduces_6x6_to_2x2_maps() -> None:
    network = Discriminator(96, 2, 5, 3)
    assert _sides(network, torch.zeros(2, 2, 96, 96)) == [48, 24, 12, 6, 2]
    with torch.no_grad():
        assert network.features(torch.zeros(2, 2, 96, 96)).shape == (2, 200)


@pytest.mark.parametrize("size", [16, 32, 48, 64, 96])
def test_every_patch_size_goes_through(size: int) -> None:
    pairs = torch.rand(3, 2, size, size, generator=_seeded()) * 2 - 1
    with torch.no_grad():
        for upsampling in ("resize", "transposed"):
            drawn = Generator(5, size, 2, "batch", upsampling)(torch.randn(3, 5, generator=_seeded()))
            assert drawn.shape == (3, 2, size, size)
            assert drawn.abs().max() <= 1
        for network in (Critic(size, 2, "instance"), Critic(size, 2, "spectral"), Discriminator(size, 2, 3, 2)):
            assert network(pairs).shape == (3,)


def test_first_weights_have_deviation_5_percent() -> None:
    torch.manual_seed(3)
    for network in (Generator(64, 32, 32, "batch", "resize"), Critic(32, 32, "instance"), Discriminator(32, 32, 10, 5)):
        for name, weight in network.named_parameters():
            if weight.ndim < 2:
                continue  # batch norm and the bias of the score
            within = 5 / math.sqrt(2 * weight.numel())  # five standard errors of a deviation
            assert weight.std().item() == pytest.approx(0.05, rel=within), name
            assert abs(weight.mean().item()) < 5 * 0.05 / math.sqrt(weight.numel()), name


def test_no_convolution_has_a_bias_and_the_first_of_a_critic_no_norm() -> None:
    critic = Critic(32, 4, "instance")
    assert all(weight.ndim == 4 for weight in critic.parameters())
    assert [type(module).__name__ for module in list(critic.body.children())[:5]] == [
        "Convolution",
        "LeakyReLU",
        "Convolution",
        "InstanceNorm",
        "LeakyReLU",
    ]


def test_noise_maps_add_what_their_weights_say() -> None:
    maps = NoiseMaps(channels=3, side=2)
    with torch.no_grad():
        maps.weight.copy_(torch.tensor([1.0, 5.0, 9.0]).view(3, 1, 1, 1))
    noise = torch.zeros(1, maps.size)
    noise[0, 2] = 2.0  # second row, first column
    added = maps(torch.ones(1, 3, 2, 2), noise) - 1
    expected = torch.zeros(1, 3, 2, 2)
    expected[0, :, 1, 0] = torch.tensor([2.0, 10.0, 18.0])
    torch.testing.assert_close(added, expected)


def test_noise_changes_grain_and_leaves_the_rest_to_the_vector() -> None:
    torch.manual_seed(1)
    generator = Generator(6, 32, 4, "batch", "resize", noise=True).eval()
    assert generator.latent_size == 6 + 8**2 + 16**2
    latent = torch.randn(2, generator.latent_size)
    other = latent.clone()
    other[:, 6:] = torch.randn(2, generator.latent_size - 6)
    with torch.no_grad():
        first, second, third = generator(latent), generator(other), generator(latent.flip(0))
    grain, shape = (first - second).std(), (first - third).std()
    assert 0 < grain < shape


def test_a_forward_pass_makes_no_power_iteration() -> None:
    critic = Critic(16, 3, "spectral")
    before = {name: buffer.clone() for name, buffer in critic.named_buffers()}
    with torch.no_grad():
        critic(torch.zeros(2, 2, 16, 16))
    assert before  # there are some
    assert all(torch.equal(before[name], buffer) for name, buffer in critic.named_buffers())


def test_minibatch_discrimination_against_a_loop() -> None:
    torch.manual_seed(0)
    head = MinibatchDiscrimination(7, kernels=4, dimensions=3)
    features = torch.randn(5, 7) * 4
    with torch.no_grad():
        result = head(features)
        m = (features @ head.tensor.weight.T).reshape(5, 4, 3)
    for i in range(5):
        for kernel in range(4):
            near = [math.exp(-sum(abs(float(m[i, kernel, d] - m[j, kernel, d])) for d in range(3))) for j in range(5) if j != i]
            assert result[i, kernel].item() == pytest.approx(sum(near), rel=1e-5)


def test_equal_samples_are_as_near_as_can_be() -> None:
    head = MinibatchDiscrimination(7, kernels=4, dimensions=3)
    torch.testing.assert_close(head(torch.ones(6, 7)), torch.full((6, 4), 5.0))
