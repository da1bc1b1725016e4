"""What every kind of generator must do: those of the registry, and one that is no GAN, so that nobody takes a GAN for granted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from angiosynth.errors import InputError
from angiosynth.generators import registry
from angiosynth.generators.base import Family, GeneratorSettings, Sampler, TrainedGenerator
from angiosynth.generators.flow import family as flow
from angiosynth.generators.gan import family as gan
from angiosynth.generators.gan.kinds import GanSettings
from angiosynth.generators.private_evolution import family as private_evolution
from angiosynth.generators.registry import KINDS, family_of
from angiosynth.generators.schedule import WATCHED, probe_steps, watch_steps
from angiosynth.generators.storage import load_critic, load_sampler, save_generator
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import ListRecorder
from angiosynth.runtime.rehearsal import rehearsal
from angiosynth.settings import Settings
from angiosynth.settings.checks import placed
from tests.factories import few_samples, tiny_kinds, tiny_patches, tiny_tree
from tests.generators import gaussian
from tests.generators.probe import Interrupted
from tests.generators.probe import Probe as ProbeByTable

SIZE = 16
TINY = tiny_kinds() | {"gaussian": {"kind": "gaussian", "steps": 4, "batch_size": 4}}
FAMILIES: tuple[Family, ...] = (gan, flow, private_evolution, gaussian)  # mypy holds these modules against the protocol


@pytest.fixture(params=[*KINDS, "gaussian"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(registry.KINDS, "gaussian", gaussian.KIND)
    few_samples(monkeypatch)
    return str(request.param)


def _is_probed(kind: str) -> bool:
    """Whether validation patients may choose this kind's checkpoint."""
    return bool(KINDS[kind].settings.model_fields["checkpoint_choice"].default == "probe_dsc")


class Probe(ProbeByTable):
    """One that draws from the sampler as well."""

    def __call__(self, sampler: Sampler, step: int) -> dict[str, float]:
        assert sampler.pairs(2, step)[0].shape == (2, SIZE, SIZE)
        return super().__call__(sampler, step)


def _settings(kind: str, **values: Any) -> GeneratorSettings:
    """As params.yaml would have it: under a name of its own."""
    assert kind in TINY, f"give {kind} tiny settings in tests/factories.py"
    tree = tiny_tree() | {"generators": {"trial-1": {**TINY[kind], **values}}}
    return Settings.model_validate(tree).generator("trial-1")


def _train(settings: GeneratorSettings, folder: Path, probe: Probe | None = None, recorder: ListRecorder | None = None) -> TrainedGenerator:
    return _train_with(settings, Checkpoints(folder), probe, recorder)


def _train_with(
    settings: GeneratorSettings, checkpoints: Checkpoints, probe: Probe | None = None, recorder: ListRecorder | None = None
) -> TrainedGenerator:
    return family_of(settings).train("trial-1", settings, tiny_patches(), probe or Probe(), checkpoints, recorder or ListRecorder())


@dataclass(frozen=True)
class Saved:
    """A trained generator and its folder, to be read only."""

    settings: GeneratorSettings
    folder: Path
    trained: TrainedGenerator

    def sampler(self) -> Sampler:
        return load_sampler(self.folder, self.settings, SIZE)


@pytest.fixture(scope="module")
def _known() -> dict[str, Saved]:
    return {}


@pytest.fixture
def saved(kind: str, _known: dict[str, Saved], tmp_path: Path) -> Saved:
    if kind not in _known:
        settings = _settings(kind, probes=3)
        trained = _train(settings, tmp_path / "resume")
        save_generator(tmp_path, trained, Checkpoints(tmp_path / "resume"), {})
        _known[kind] = Saved(settings, tmp_path, trained)
    return _known[kind]


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_kind_describes_itself(kind: str) -> None:
    described = KINDS[kind]
    assert described.name == kind
    assert described.title
    assert described.settings.model_fields["kind"].default == kind
    assert isinstance(_settings(kind), described.settings)


def test_what_a_sweep_searches_are_settings_that_take_all_it_may_propose(kind: str) -> None:
    settings = _settings(kind)
    for name, searched in KINDS[kind].search.items():
        for value in searched.values:
            ((key, wanted),) = placed(settings, searched, name, value).items()
            taken = getattr(type(settings).model_validate(settings.model_dump() | {key: wanted}), key)
            assert (list(taken) if isinstance(taken, tuple) else taken) == wanted


def test_what_is_saved_draws_the_same_pairs_for_the_same_seed(saved: Saved) -> None:
    sampler = saved.sampler()
    image, label = sampler.pairs(9, seed=1)
    assert image.shape == label.shape == (9, SIZE, SIZE)
    assert image.dtype == label.dtype == np.uint8
    assert set(np.unique(label)) <= {0, 1}
    torch.randn(5)
    from_memory = family_of(saved.settings).sampler(saved.settings, SIZE, saved.trained.weights, torch.device("cpu"))
    again = from_memory.pairs(9, seed=1)
    np.testing.assert_array_equal(again[0], image)
    np.testing.assert_array_equal(again[1], label)
    assert (sampler.pairs(9, seed=2)[0] != image).any()


def test_chunks_are_the_same_pairs(saved: Saved) -> None:
    sampler = saved.sampler()
    chunks = list(sampler.chunks(300, 3, 0.1))
    assert len(chunks) > 1
    for part, whole in enumerate(sampler.pairs(300, 3, 0.1)):
        np.testing.assert_array_equal(np.concatenate([chunk[part] for chunk in chunks]), whole)


def test_a_higher_threshold_leaves_less_vessel_and_the_same_images(saved: Saved) -> None:
    sampler = saved.sampler()
    drawn = [sampler.pairs(20, 1, threshold) for threshold in (-0.9, 0.0, 0.9)]
    assert drawn[0][1].sum() > drawn[2][1].sum()
    for (image, lower), (other, higher) in pairwise(drawn):
        np.testing.assert_array_equal(image, other)
        assert (higher <= lower).all()


def test_drawing_changes_neither_weights_nor_the_global_random_numbers(saved: Saved) -> None:
    sampler = saved.sampler()
    before = {name: value.clone() for name, value in sampler.network.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    sampler.pairs(3, 1)
    assert torch.equal(torch.randn(4), expected)
    assert not sampler.network.training
    assert _equal(before, sampler.network.state_dict())


def test_the_network_takes_its_example(saved: Saved) -> None:
    sampler = saved.sampler()
    assert sampler.network(torch.from_numpy(sampler.example())).shape == (2, 2, SIZE, SIZE)


def test_the_probe_is_asked_over_the_second_half_and_chooses(kind: str, tmp_path: Path) -> None:
    if not _is_probed(kind):
        with pytest.raises(ValidationError, match="checkpoint_choice"):
            _settings(kind, checkpoint_choice="probe_dsc")
        return
    settings, probe, recorder = _settings(kind, steps=6, probes=6), Probe({4: 0.9, 5: 0.2, 6: 0.9}), ListRecorder()
    chosen = _train(settings, tmp_path, probe, recorder)
    assert set(probe.asked) == probe_steps(6, 6)
    assert (chosen.step, chosen.scores) == (4, {"probe_dsc": 0.9})
    assert [(row["step"], row["probe_dsc"]) for row in chosen.curve if "probe_dsc" in row] == [(3, 0.03), (4, 0.9), (5, 0.2), (6, 0.9)]
    assert [(step, values["probe_dsc"]) for step, values in recorder.rows if "probe_dsc" in values] == [
        (3, 0.03),
        (4, 0.9),
        (5, 0.2),
        (6, 0.9),
    ]
    kept = Checkpoints(tmp_path).kept()
    assert list(kept) == [3, 4, 5, 6]
    assert _equal(torch.load(kept[4], weights_only=True), chosen.weights)
    assert not _equal(torch.load(kept[6], weights_only=True), chosen.weights)


def test_the_last_step_is_chosen_without_a_probe(kind: str, tmp_path: Path) -> None:
    probe = Probe()
    chosen = _train(_settings(kind, checkpoint_choice="last"), tmp_path, probe)
    assert (chosen.step, chosen.scores, probe.asked) == (4, {}, [])


def test_the_seed_alone_decides_the_weights(kind: str, tmp_path: Path) -> None:
    one = _train(_settings(kind), tmp_path / "one")
    torch.randn(17)  # what was drawn before does not matter
    assert _equal(one.weights, _train(_settings(kind), tmp_path / "other").weights)
    assert not _equal(one.weights, _train(_settings(kind, seed=2), tmp_path / "different").weights)


def test_pairs_of_the_same_random_numbers_are_watched(kind: str, tmp_path: Path) -> None:
    watched = _train(_settings(kind, steps=5), tmp_path).watched
    assert set(watched) == watch_steps(5)
    for image, label in watched.values():
        assert image.shape == label.shape == (WATCHED, SIZE, SIZE)
        assert image.dtype == label.dtype == torch.uint8
        assert set(label.unique().tolist()) <= {0, 1}


def test_a_killed_training_ends_bit_for_bit_like_one_never_killed(kind: str, tmp_path: Path) -> None:
    settings = _settings(kind, steps=6, probes=6, checkpoint_every=3)
    whole = _train(settings, tmp_path / "whole")
    if not _is_probed(kind):
        _resume_without_probe(settings, whole, tmp_path / "killed")
        return
    with pytest.raises(Interrupted):  # step 4 was trained and is lost
        _train(settings, tmp_path / "killed", Probe(stop_at=4))
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {"step-00000003.ckpt", "kept-00000003.pt"}
    again = Probe()
    resumed = _train(settings, tmp_path / "killed", again)
    assert again.asked == [4, 5, 6]
    assert _equal(resumed.weights, whole.weights)
    assert list(resumed.audited) == list(whole.audited)
    assert all(_equal(weights, whole.audited[name]) for name, weights in resumed.audited.items())
    assert (resumed.step, resumed.scores, resumed.curve) == (whole.step, whole.scores, whole.curve)
    assert {step: [part.tolist() for part in pair] for step, pair in resumed.watched.items()} == {
        step: [part.tolist() for part in pair] for step, pair in whole.watched.items()
    }
    kept = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("kept-*.pt")} for name in ("whole", "killed")]
    assert len(kept[0]) == 4
    assert kept[0] == kept[1]


class _KilledAtTheEnd(Checkpoints):
    """Resume files of a training that is killed when it would write the last one."""

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        if step == 6:
            raise Interrupted
        super().save(step, state)


def _resume_without_probe(settings: GeneratorSettings, whole: TrainedGenerator, folder: Path) -> None:
    with pytest.raises(Interrupted):  # steps 4 to 6 were trained and are lost
        _train_with(settings, _KilledAtTheEnd(folder))
    assert {path.name for path in folder.iterdir()} == {"step-00000003.ckpt"}
    probe = Probe()
    resumed = _train(settings, folder, probe)
    assert probe.asked == []
    assert _equal(resumed.weights, whole.weights)
    assert (resumed.step, resumed.curve, resumed.promise) == (whole.step, whole.curve, whole.promise)


def test_generators_of_other_steps_come_back_and_none_of_a_step_that_was_not_seen(saved: Saved) -> None:
    assert saved.trained.step == 4
    if not _is_probed(saved.settings.kind):
        assert not (saved.folder / "checkpoints").exists()
        return
    assert {path.stem for path in (saved.folder / "checkpoints").iterdir()} == {"step-00000002", "step-00000003"}
    chosen = saved.sampler().network.state_dict()
    for step in (2, 3):
        assert not _equal(chosen, load_sampler(saved.folder, saved.settings, SIZE, step=step).network.state_dict())
    with pytest.raises(InputError, match=r"step-00000001\.pt: missing, damaged or of other settings \(.*\); run `dvc repro`"):
        load_sampler(saved.folder, saved.settings, SIZE, step=1)


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "empty", "of another size"])
def test_unusable_weights_are_one_line(saved: Saved, tmp_path: Path, damage: str) -> None:
    sizes = [family_of(saved.settings).blank(saved.settings, size)["generator"] for size in (SIZE, 2 * SIZE)]
    if damage == "of another size" and all(sizes[0][name].shape == sizes[1][name].shape for name in sizes[0]):
        return  # a simulator draws patches of any size
    path = tmp_path / "damaged" / "generator.pt"
    path.parent.mkdir()
    whole = (saved.folder / "generator.pt").read_bytes()
    if damage != "missing":
        path.write_bytes({"garbage": b"nothing of use", "cut": whole[:-200], "empty": b""}.get(damage, whole))
    with pytest.raises(InputError, match=r"generator\.pt: .*dvc repro") as caught:
        load_sampler(path.parent, saved.settings, 2 * SIZE if damage == "of another size" else SIZE)
    assert "\n" not in str(caught.value)


def test_a_latent_space_is_searched_by_gradients_where_there_is_one(saved: Saved) -> None:
    space = family_of(saved.settings).latent_space(saved.sampler())
    if space is None:
        assert not isinstance(saved.settings, GanSettings)
        return
    vectors = torch.randn(3, space.size, generator=torch.Generator().manual_seed(1)).requires_grad_()
    drawn = space.draw(vectors)
    assert drawn.shape == (3, 2, SIZE, SIZE)
    drawn.square().sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.abs().min() > 0
    image, label = (torch.from_numpy(part) for part in tiny_patches(3).pairs(range(3)))
    assert space.encode(image, label).shape == drawn.shape
    assert torch.equal(space.encode(image, label)[:, 0], image)


def test_a_critic_scores_pairs_where_there_is_one(saved: Saved) -> None:
    critic = load_critic(saved.folder, saved.settings, SIZE)
    if critic is None:
        assert not isinstance(saved.settings, GanSettings)
        assert not saved.trained.audited
        return
    image, label = (torch.from_numpy(part) for part in tiny_patches(critic.batch_size).pairs(range(critic.batch_size)))
    scores = critic.scores(critic.encode(image, label))
    assert scores.shape == (critic.batch_size,)
    assert torch.isfinite(scores).all()
    assert len(scores.unique()) > 1


def test_what_only_the_audit_reads_never_takes_the_generators_place(saved: Saved) -> None:
    assert "generator" not in saved.trained.audited
    assert {path.stem for path in saved.folder.glob("*.pt")} == {"generator", *saved.trained.audited}


def test_a_rehearsal_tells_what_memory_a_training_takes(kind: str) -> None:
    settings = _settings(kind)
    with rehearsal() as counted:
        need = family_of(settings).rehearse(settings, SIZE, counted)
    batch = settings.batch_size * 2 * SIZE**2 * 4
    assert need.peak > batch
    assert 0 < need.lasting < need.peak
