"""The GANs' training loop: its arithmetic, its choice of a generator, and interruptions; real kills are in test_kills.py."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from angiosynth.errors import InputError
from angiosynth.generators import loop
from angiosynth.generators.base import TrainedGenerator
from angiosynth.generators.gan.family import rehearse
from angiosynth.generators.gan.kinds import KINDS, GanSettings
from angiosynth.generators.gan.training import STATISTICS_BATCH, STATISTICS_BATCHES, GanTraining, train_gan
from angiosynth.generators.schedule import WATCHED
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import ListRecorder, NullRecorder
from angiosynth.runtime.rehearsal import rehearsal
from tests.factories import tiny_generator, tiny_patches
from tests.generators.probe import Interrupted, Probe

MODELS = [kind.name for kind in KINDS]


def _settings(model: str, steps: int = 6, **values: Any) -> GanSettings:
    settings: GanSettings = tiny_generator(model, steps=steps, **values)
    return settings


def _train(
    settings: GanSettings, folder: Path, probe: Probe | None = None, recorder: ListRecorder | NullRecorder | None = None
) -> TrainedGenerator:
    return train_gan(settings.kind, settings, tiny_patches(), probe or Probe(), Checkpoints(folder), recorder or NullRecorder())


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("model", "changes"), [("dcgan", {}), ("wgan-gp-sn", {}), ("wgan-gp", {"gradient_penalty_every": 4}), ("r3gan", {})]
)
def test_all_of_the_state_comes_back(model: str, changes: dict[str, Any]) -> None:
    settings = _settings(model, **changes)
    straight = GanTraining(settings, tiny_patches())
    for _ in range(3):
        straight.train_step()
    kept = straight.state()
    buffer = {name: value for name, value in kept.items() if name not in ("curve", "best")}
    resumed = GanTraining(settings, tiny_patches())
    resumed.restore(torch.load(_saved({**buffer, "curve": [], "best": {}}), weights_only=True))
    for _ in range(3):
        straight.train_step()
        resumed.train_step()
    assert resumed.step == 6
    for one, other in ((straight.gan.generator, resumed.gan.generator), (straight.gan.critic, resumed.gan.critic)):
        assert _equal(one.state_dict(), other.state_dict())
    assert _equal(straight.average.state_dict(), resumed.average.state_dict())
    assert torch.equal(straight.random.get_state(), resumed.random.get_state())
    assert torch.equal(straight.gan.augmentation.probability, resumed.gan.augmentation.probability)


def _saved(state: dict[str, Any]) -> Any:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.parametrize("model", MODELS)
def test_training_is_deterministic_and_moves_every_weight(model: str, tmp_path: Path) -> None:
    settings = _settings(model, 3)
    one, other = _train(settings, tmp_path / "one"), _train(settings, tmp_path / "other")
    assert _equal(one.weights, other.weights)
    fresh = GanTraining(settings, tiny_patches()).gan.generator
    for name, weight in fresh.named_parameters():
        assert not torch.equal(weight, one.weights[name]), name
    different = _train(_settings(model, 3, seed=2), tmp_path / "different")
    assert not _equal(one.weights, different.weights)


def test_the_probe_chooses_the_best_step(tmp_path: Path) -> None:
    settings = _settings("wgan-gp", 6, probes=6, decay=False)  # or the steps would differ by how many there are
    chosen = _train(settings, tmp_path / "a", Probe({4: 0.9, 5: 0.2, 6: 0.9}))
    assert (chosen.step, chosen.scores) == (4, {"probe_dsc": 0.9})
    shorter = _train(_settings("wgan-gp", 4, decay=False), tmp_path / "b")
    assert _equal(chosen.weights, shorter.weights)  # the weights are those of step 4 indeed
    kept = Checkpoints(tmp_path / "a").kept()
    assert list(kept) == [3, 4, 5, 6]
    assert _equal(torch.load(kept[4], weights_only=True), chosen.weights)
    assert not _equal(torch.load(kept[6], weights_only=True), chosen.weights)


@pytest.mark.parametrize("ema", [0.0, 0.2, 0.995])
def test_the_averaged_generator_by_hand(ema: float) -> None:
    trained = GanTraining(_settings("dcgan", ema=ema), tiny_patches())
    expected = {name: value.detach().double() for name, value in trained.gan.generator.named_parameters()}
    for step in range(1, 4):
        trained.train_step()
        decay = min(ema, step / (step + 10))
        for name, value in trained.gan.generator.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach().double()
    for name, value in trained.averaged().named_parameters():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


def test_statistics_of_the_averaged_generator_are_those_of_its_own_activations() -> None:
    trained = GanTraining(_settings("wgan-gp", precision="float32"), tiny_patches())
    for _ in range(3):
        trained.train_step()
    average = trained.averaged()
    first, norm = average.blocks[0], average.blocks[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    random = torch.Generator().manual_seed(trained.settings.seed)
    latents = [torch.randn(STATISTICS_BATCH, average.latent_size, generator=random) for _ in range(STATISTICS_BATCHES)]
    seen = first(torch.cat(latents)[:, : average.sizes[0], None, None])
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), rtol=1e-3, atol=1e-5)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    assert _equal(before, trained.averaged().state_dict())  # asking twice changes nothing


@pytest.mark.parametrize("decay", [True, False])
def test_learning_rates_fall_over_the_second_half_or_not_at_all(decay: bool) -> None:
    trained = GanTraining(_settings("wgan-gp", 8, decay=decay), tiny_patches())
    seen = []
    for _ in range(8):
        trained.train_step()
        seen.append([group["lr"] for group in trained.generator_optimiser.param_groups + trained.critic_optimiser.param_groups])
    shares = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25] if decay else [1] * 8
    rates = trained.settings.learning_rate_generator, trained.settings.learning_rate_critic
    assert list(trained.rates().values()) == seen[-1]
    assert seen == [[pytest.approx(share * rate) for rate in rates] for share in shares]


def test_a_step_trains_the_critic_as_often_as_asked_with_fresh_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = GanTraining(_settings("wgan-gp"), tiny_patches())
    batches: list[Tensor] = []
    draw = trained._real_batch
    monkeypatch.setattr(trained, "_real_batch", lambda: batches.append(draw()) or batches[-1])  # type: ignore[func-returns-value]
    trained.train_step()
    assert len(batches) == 3  # two critic iterations and the generator's
    assert not torch.equal(batches[0], batches[1])


def test_real_batches_are_pairs_and_mirrored_left_right() -> None:
    patches = tiny_patches(1, patients=1)
    plain = GanTraining(_settings("wgan-gp", flip=False), patches)._real_batch()
    image, label = (torch.from_numpy(part)[0] for part in patches.pairs([0]))
    assert all(torch.equal(pair, torch.stack([image, label * 2 - 1])) for pair in plain)
    flipped = GanTraining(_settings("wgan-gp"), patches)
    result = torch.cat([flipped._real_batch() for _ in range(8)])
    same = torch.tensor([torch.equal(pair, plain[0]) for pair in result])
    mirrored = torch.tensor([torch.equal(pair, plain[0].flip(1)) for pair in result])  # x is the first axis of a patch
    assert torch.all(same ^ mirrored)
    assert 4 < mirrored.sum() < 28


def test_a_generator_step_leaves_the_critic_alone() -> None:
    trained = GanTraining(_settings("wgan-gp"), tiny_patches())
    before = {name: value.clone() for name, value in trained.gan.critic.state_dict().items()}
    trained._train_generator(trained._real_batch())
    assert _equal(before, trained.gan.critic.state_dict())
    assert all(weight.requires_grad for weight in trained.gan.critic.parameters())


def test_an_adaptive_probability_follows_the_critics_order() -> None:
    trained = GanTraining(_settings("r3gan", 8, augmentation_pairs=16, augmentation_target=0.3), tiny_patches())
    expected, moved = 0.0, set()
    for _ in range(8):
        numbers = trained.train_step()
        order = numbers["critic_order"].item()
        expected = min(1.0, max(0.0, expected + 0.25 * ((order > 0.3) - (order < 0.3))))
        moved.add(order > 0.3)
        assert trained.gan.augmentation.probability.item() == pytest.approx(expected)
        assert numbers["augmentation_probability"].item() == pytest.approx(expected)
    assert moved == {True, False}  # else the target says nothing


def test_real_and_generated_pairs_are_augmented_before_both_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _settings("r3gan", augmentation="fixed", augmentation_probability=1.0)
    trained = GanTraining(settings, tiny_patches())
    seen: list[Tensor] = []
    monkeypatch.setattr(trained.gan.augmentation, "forward", lambda pairs, _random: seen.append(pairs) or pairs * 0.0)  # type: ignore[func-returns-value]
    before = {name: weight.clone() for name, weight in trained.gan.generator.named_parameters()}
    assert trained.train_step()["critic_distance"].item() == 0  # the critic cannot tell them apart
    assert [pairs.requires_grad for pairs in seen] == [False, False, False, True]
    assert all(torch.equal(before[name], weight) for name, weight in trained.gan.generator.named_parameters())


def test_penalties_are_differentiated_twice_in_bfloat16() -> None:
    trained = GanTraining(_settings("r3gan", precision="bfloat16", gradient_penalty_every=1), tiny_patches())
    before = {name: weight.clone() for name, weight in trained.gan.critic.named_parameters()}
    for _ in range(3):
        numbers = trained.train_step()
    assert all(math.isfinite(value.item()) for value in numbers.values())
    assert numbers["real_penalty"].item() > 0
    assert not any(torch.equal(before[name], weight) for name, weight in trained.gan.critic.named_parameters())


@pytest.mark.parametrize("model", ["wgan-gp", "r3gan"])
def test_a_rehearsal_has_the_penalty_however_rare_it_is(model: str) -> None:
    peaks = []
    for steps in (1, 4):
        with rehearsal() as counted:
            peaks.append(rehearse(_settings(model, batch_size=16, gradient_penalty_every=steps), 16, counted).peak)
    assert peaks[0] == peaks[1]


@pytest.mark.parametrize("name", ["critic_loss", "generator_loss"])
def test_a_loss_that_is_not_finite_names_the_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Training, "log_every", 1)
    step = GanTraining.train_step

    def diverging(self: GanTraining) -> dict[str, Tensor]:
        numbers = step(self)
        return {**numbers, name: torch.tensor(math.nan)} if self.step == 3 else numbers

    monkeypatch.setattr(GanTraining, "train_step", diverging)
    with pytest.raises(InputError, match=rf"train-generator wgan-gp: {name} is not finite at step 3.*of step 2.*learning rates"):
        _train(_settings("wgan-gp"), tmp_path)


def test_a_learning_rate_that_is_far_too_high_ends_in_one_line(tmp_path: Path) -> None:
    high = _settings("wgan-gp", 40, learning_rate_critic=1.0, learning_rate_generator=1.0)
    settings = high.model_copy(update={"gradient_penalty_weight": 3e38})  # params.yaml may not say so
    with pytest.raises(InputError, match="is not finite at step 1, diverged; there is no checkpoint yet") as caught:
        _train(settings, tmp_path)
    assert "\n" not in str(caught.value)


def test_watching_shows_the_same_latents_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = _train(_settings("wgan-gp", 5), tmp_path / "a")
    assert sorted(watched.watched) == [1, 2, 5]
    image, label = watched.watched[5]
    assert image.shape == label.shape == (WATCHED, 16, 16)
    assert set(label.unique().tolist()) <= {0, 1}
    monkeypatch.setattr(loop, "watch_steps", lambda _steps: set())
    blind = _train(_settings("wgan-gp", 5), tmp_path / "b")
    assert _equal(watched.weights, blind.weights)


def test_curves_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Training, "log_every", 2)
    recorder = ListRecorder()
    trained = _train(_settings("wgan-gp", 5), tmp_path, recorder=recorder)
    losses = {"critic_loss", "critic_distance", "gradient_penalty", "generator_loss", "learning_rate_generator", "learning_rate_critic"}
    assert [(step, set(values)) for step, values in recorder.rows] == [(2, losses), (4, losses), (5, losses), (5, {"probe_dsc"})]
    assert [row["step"] for row in trained.curve] == [2, 4, 5, 5]


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = _settings("dcgan", 6, probes=6)
    whole = _train(settings, tmp_path / "whole")
    with pytest.raises(Interrupted):
        _train(settings, tmp_path / "killed", Probe(stop_at=5))
    newest = tmp_path / "killed" / "step-00000004.ckpt"
    newest.write_bytes(newest.read_bytes()[:-100])
    capsys.readouterr()
    resumed = _train(settings, tmp_path / "killed")
    said = capsys.readouterr().err
    assert f"{newest}: damaged" in said
    assert "goes on at step 2" in said
    assert _equal(resumed.weights, whole.weights)


def test_no_patches_are_one_line(tmp_path: Path) -> None:
    empty = tiny_patches().of_patients([])
    with pytest.raises(InputError, match="no patches to train on"):
        train_gan("dcgan", _settings("dcgan"), empty, Probe(), Checkpoints(tmp_path), NullRecorder())
