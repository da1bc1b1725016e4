"""What every GAN's networks and losses must do, whichever it is and however it is built."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from angiosynth.compute.draws import Draws
from angiosynth.generators.gan.convolution import Convolution
from angiosynth.generators.gan.kinds import KINDS, GanSettings, PublishedSettings
from angiosynth.generators.gan.models import Gan, build_gan, build_generator, encode_pairs
from tests.factories import tiny_generator, tiny_patches

SIZE = 16
MODELS = [kind.name for kind in KINDS]
PUBLISHED = [kind.name for kind in KINDS if issubclass(kind.settings, PublishedSettings)]
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{model: (model, {}) for model in MODELS},
    **{f"{model}-transposed": (model, {"upsampling": "transposed"}) for model in PUBLISHED},
    **{f"{model}-noiseless": (model, {"noise": False}) for model in MODELS},
    **{f"{model}-blunt": (model, {"sharpen": False}) for model in PUBLISHED},
    "r3gan-fixed-augmentation": ("r3gan", {"augmentation": "fixed", "augmentation_probability": 0.7}),
    "r3gan-plain": ("r3gan", {"augmentation": "off", "expansion": 1, "group_channels": 1000, "blocks": 2, "gamma_fall": 10.0}),
    "wgan-gp-binary": ("wgan-gp", {"label_range": "binary"}),
    "wgan-gp-batch-penalty": ("wgan-gp", {"gradient_penalty": "batch"}),
    "wgan-gp-sn-both": ("wgan-gp-sn", {"spectral_norm": "both"}),
    "wgan-gp-sn-both-transposed": (
        "wgan-gp-sn",
        {"spectral_norm": "both", "upsampling": "transposed"},
    ),
}


@pytest.fixture(params=VARIANTS)
def variant(request: pytest.FixtureRequest) -> GanSettings:
    model, values = VARIANTS[request.param]
    settings: GanSettings = tiny_generator(model, **values)
    return settings


def _build(variant: GanSettings, **values: Any) -> Gan:
    return build_gan(variant.model_copy(update=values), SIZE)


def _latent(variant: GanSettings, count: int = 4) -> Tensor:
    size = build_generator(variant, SIZE).latent_size
    return torch.randn(count, size, generator=torch.Generator().manual_seed(5))


def _real(variant: GanSettings, count: int = 4) -> Tensor:
    image, label = (torch.from_numpy(part) for part in tiny_patches(count, SIZE).pairs(range(count)))
    return encode_pairs(variant, image, label)


def _random() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_shapes_and_range(variant: GanSettings) -> None:
    gan = _build(variant)
    fake = gan.generator(_latent(variant))
    assert fake.shape == (4, 2, SIZE, SIZE)
    assert fake.dtype == torch.float32
    assert -1 <= fake.min() < fake.max() <= 1
    assert gan.critic(fake).shape == (4,)


def test_real_labels_have_the_range_that_was_asked_for(variant: GanSettings) -> None:
    values = set(_real(variant)[:, 1].unique().tolist())
    assert values == ({-1.0, 1.0} if variant.label_range == "signed" else {0.0, 1.0})


def _leave_zero(network: nn.Module) -> None:
    """Give weights that all begin at zero other values: no gradient passes through them in the first step."""
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(0.0, 0.1, generator=_random())


def test_gradients_reach_every_weight(variant: GanSettings) -> None:
    gan = _build(variant)
    _leave_zero(gan.generator)
    _leave_zero(gan.critic)
    fake = gan.generator(_latent(variant))
    loss, _ = gan.critic_loss(_real(variant), fake.detach(), Draws(_random()), gan.critic_loss.weight(0))
    loss.backward()
    for name, weight in gan.critic.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name
    gan.generator_loss(_real(variant), gan.generator(_latent(variant))).backward()
    for name, weight in gan.generator.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().max() > 0, name


def _small_step(loss: Tensor, network: nn.Module) -> None:
    """One step down the gradient, so small that to first order the loss loses a thousandth of itself."""
    weights = list(network.parameters())
    gradients = torch.autograd.grad(loss, weights)
    rate = 1e-3 * loss.detach().abs() / sum(gradient.square().sum() for gradient in gradients)
    with torch.no_grad():
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.sub_(rate * gradient)


def test_a_small_critic_step_lowers_its_loss_on_the_same_batch(variant: GanSettings) -> None:
    gan = _build(variant)
    real, fake = _real(variant), gan.generator(_latent(variant)).detach()
    before, numbers = gan.critic_loss(real, fake, Draws(_random()), gan.critic_loss.weight(0))
    _small_step(before, gan.critic)
    after, _ = gan.critic_loss(real, fake, Draws(_random()), gan.critic_loss.weight(0))
    assert after.item() < before.item()
    assert all(torch.isfinite(value) for value in numbers.values())


def test_a_small_generator_step_lowers_its_loss_on_the_same_batch(variant: GanSettings) -> None:
    gan = _build(variant)
    before = gan.generator_loss(_real(variant), gan.generator(_latent(variant)))
    _small_step(before, gan.generator)
    assert gan.generator_loss(_real(variant), gan.generator(_latent(variant))).item() < before.item()


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def test_weights_come_from_the_seed_alone(variant: GanSettings) -> None:
    gan = _build(variant)
    torch.randn(17)  # what was drawn before does not matter
    again = _build(variant)
    assert _same(gan.generator, again.generator)
    assert _same(gan.critic, again.critic)
    other = _build(variant, seed=99)
    assert not _same(gan.generator, other.generator)
    assert not _same(gan.critic, other.critic)


def test_building_leaves_the_global_random_numbers_alone(variant: GanSettings) -> None:
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    _build(variant)
    torch.testing.assert_close(torch.randn(4), expected, atol=0, rtol=0)


def test_a_saved_generator_draws_the_same(variant: GanSettings) -> None:
    gan = _build(variant)
    gan.generator(_latent(variant))  # batch norm has statistics now
    kept = io.BytesIO()
    torch.save(gan.generator.state_dict(), kept)
    kept.seek(0)
    loaded = build_generator(variant, SIZE)
    before = loaded.eval()(_latent(variant))
    loaded.load_state_dict(torch.load(kept, weights_only=True))
    expected = gan.generator.eval()(_latent(variant))
    assert torch.equal(loaded.eval()(_latent(variant)), expected)
    assert not torch.equal(before, expected)


def test_a_copy_shares_nothing(variant: GanSettings) -> None:
    gan = _build(variant)
    average = copy.deepcopy(gan.generator)
    with torch.no_grad():
        for weight in gan.generator.parameters():
            weight.add_(1.0)
    assert not _same(gan.generator, average)


def test_spectral_norm_is_where_it_was_asked_for(variant: GanSettings) -> None:
    gan = _build(variant)
    normed = [
        any(isinstance(module, Convolution) and module.scale is not None for module in network.modules())
        for network in (gan.critic, gan.generator)
    ]
    critic = variant.kind == "wgan-gp-sn"
    assert normed == [critic, getattr(variant, "spectral_norm", "") == "both"]
