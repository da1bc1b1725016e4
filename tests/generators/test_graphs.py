"""Steps from CUDA graphs train as steps without them: emulated on the CPU, and on a GPU where there is one."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch

from angiosynth.compute.draws import Draws
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.flow.training import FlowTraining
from angiosynth.generators.gan.training import GanTraining
from angiosynth.generators.graphs import WARM_UP, Graphs, uses_graphs, without_graphs
from angiosynth.generators.loop import Training
from tests.factories import tiny_generator, tiny_patches
from tests.generators.recorded import Graph, emulate_graphs

STEPS = 2 * WARM_UP + 6
TRAININGS: dict[str, Callable[..., Training[Any]]] = {
    "dcgan": GanTraining,
    "wgan-gp": GanTraining,
    "wgan-gp-sn": GanTraining,
    "r3gan": GanTraining,
    "flow": FlowTraining,
}
RECORDED = {"dcgan": 2, "wgan-gp": 3, "wgan-gp-sn": 2, "r3gan": 3, "flow": 1}  # critic steps with and without penalties, generator step
CHANGED: dict[str, dict[str, Any]] = {
    "wgan-gp": {"gradient_penalty_every": 2},
    "r3gan": {"augmentation": "adaptive", "augmentation_pairs": 64, "gamma_fall": 100.0},
}
# Emulated steps differ only by learning rates and weights in single precision. A GPU does not always sum in the same order.
EXACT, ROUGH = 1e-4, 0.03
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU of NVIDIA")


@pytest.fixture(params=["emulated", pytest.param("gpu", marks=needs_gpu)])
def graphs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Graph] | None:
    """The graphs that trainings record on the CPU; None on a GPU."""
    return emulate_graphs(monkeypatch) if request.param == "emulated" else None


def test_without_a_gpu_a_step_is_the_function_itself() -> None:
    def step() -> dict[str, torch.Tensor]:
        return {}

    assert not uses_graphs(torch.device("cpu"))
    graphs = Graphs(Draws(torch.Generator()))
    assert (graphs.used, graphs.run("step", step)) == (False, {})


def test_graphs_are_left_out_where_asked_and_in_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    assert uses_graphs(gpu)
    with without_graphs():
        assert not uses_graphs(gpu)
    monkeypatch.setattr("angiosynth.generators.graphs.world_size", lambda: 2)
    assert not uses_graphs(gpu)


def _settings(kind: str) -> GeneratorSettings:
    settings: GeneratorSettings = tiny_generator(kind, steps=STEPS, precision="float32", decay=True, **CHANGED.get(kind, {}))
    return settings


def _pair(kind: str) -> tuple[Training[Any], Training[Any]]:
    """Two trainings with the same settings: without graphs, and with."""
    patches = tiny_patches()
    with without_graphs():
        plain = TRAININGS[kind](_settings(kind), patches)
    return plain, TRAININGS[kind](_settings(kind), patches)


def _weights(training: Training[Any]) -> torch.Tensor:
    networks = [module for module in training.modules().values() if isinstance(module, torch.nn.Module)]
    return torch.cat([value.detach().float().flatten() for network in networks for value in network.parameters()]).clone()


def _train_alike(plain: Training[Any], replayed: Training[Any], count: int, tolerance: float) -> None:
    start = _weights(plain)
    assert torch.equal(start, _weights(replayed))
    for _ in range(count):
        numbers, expected = replayed.train_step(), plain.train_step()
        assert list(numbers) == list(expected)
        for name, value in numbers.items():
            assert value.item() == pytest.approx(expected[name].item(), rel=tolerance, abs=tolerance / 5), (name, plain.step)
        assert replayed.rates() == pytest.approx(plain.rates())
    assert torch.equal(replayed.random.get_state(), plain.random.get_state())
    assert (_weights(replayed) - _weights(plain)).norm() < tolerance * (_weights(plain) - start).norm()


@pytest.mark.parametrize("kind", TRAININGS)
def test_replayed_steps_train_as_steps_without_graphs(kind: str, graphs: list[Graph] | None) -> None:
    _train_alike(*_pair(kind), STEPS, ROUGH if graphs is None else EXACT)
    if graphs is not None:
        assert len(graphs) == RECORDED[kind]
        assert all(graph.replays for graph in graphs)


@pytest.mark.parametrize("kind", TRAININGS)
def test_a_replayed_training_goes_on_from_a_state_of_one_without_graphs(kind: str, graphs: list[Graph] | None) -> None:
    plain, replayed = _pair(kind)
    for _ in range(3):
        plain.train_step()
    replayed.restore(copy.deepcopy(plain.state()))  # a state holds the training's own tensors
    _train_alike(plain, replayed, STEPS - 3, ROUGH if graphs is None else EXACT)


@pytest.mark.parametrize("kind", TRAININGS)
def test_a_step_that_cannot_be_recorded_runs_on_as_it_is(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    graphs = emulate_graphs(monkeypatch)
    plain, replayed = _pair(kind)
    step = torch.optim.Adam.step

    def reading(optimiser: torch.optim.Adam) -> None:  # which a graph cannot, after all gradients
        optimiser.param_groups[0]["params"][0].sum().item()
        step(optimiser)

    monkeypatch.setattr(torch.optim.Adam, "step", reading)
    _train_alike(plain, replayed, STEPS, EXACT)
    assert not any(graph.replays for graph in graphs)
    assert capsys.readouterr().err.count("cannot be replayed from CUDA graphs") == 1


@pytest.mark.parametrize("kind", TRAININGS)
@pytest.mark.parametrize("emulated", [False, True])
def test_a_training_and_its_graphs_are_freed_with_the_last_reference(kind: str, emulated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if emulated:
        emulate_graphs(monkeypatch)
    training = TRAININGS[kind](_settings(kind), tiny_patches())
    for _ in range(STEPS if emulated else 1):
        training.train_step()
    kept = weakref.ref(training), weakref.ref(training.graphs)  # type: ignore[attr-defined]
    del training
    assert [one() for one in kept] == [None, None], "nothing collects cycles while stages run"
