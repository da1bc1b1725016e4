"""Two processes end where one does, for every kind that trains in more than one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from angiosynth.compute.distributed import joined, rank, world_size
from angiosynth.generators.base import Sampler, TrainedGenerator
from angiosynth.generators.registry import KINDS, family_of
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import ListRecorder
from angiosynth.runtime.stop import end_with
from angiosynth.settings import Settings
from tests.factories import few_samples, tiny_kinds, tiny_patches, tiny_tree
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
MODULE = "tests.generators.test_distributed"
MORE: dict[str, dict[str, Any]] = {"r3gan": {"augmentation_pairs": 20}, "flow": {"label": "distance", "steps": 6}}
CASES: dict[str, dict[str, Any]] = {
    **{kind: tiny_kinds()[kind] | MORE.get(kind, {}) for kind in KINDS},
    "batch-penalty": tiny_kinds()["wgan-gp"] | {"gradient_penalty": "batch"},
}


def _probe(sampler: Sampler, step: int) -> dict[str, float]:
    return {"probe_dsc": float(sampler.pairs(4, 1, None)[0].mean()) / 255 + step}


def _train(case: str, folder: Path, recorder: ListRecorder) -> TrainedGenerator:
    entry = CASES[case] | {"precision": "float32", "checkpoint_every": 100}
    settings = Settings.model_validate(tiny_tree() | {"generators": {case: entry}}).generator(case)
    with pytest.MonkeyPatch.context() as patch:
        few_samples(patch)
        return family_of(settings).train(case, settings, tiny_patches(), _probe, Checkpoints(folder), recorder)


def _in_each_process(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined():
        assert world_size() == 2
        for case in CASES:
            recorder = ListRecorder()
            trained = _train(case, folder / f"resume-{case}-{rank()}", recorder)
            torch.save({"weights": trained.weights, "rows": recorder.rows, "step": trained.step}, folder / f"{case}-{rank()}.pt")


def _run(folder: Path, *launcher: str) -> None:
    words = [sys.executable, *launcher, "-m", MODULE, str(folder)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what both processes ended with, for every case: started once, since to import torch takes longest."""
    folder = tmp_path_factory.mktemp("pair")
    _run(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_the_weights_of_one(pair: Path, case: str, tmp_path: Path) -> None:
    recorder = ListRecorder()
    alone = _train(case, tmp_path, recorder)
    both = [torch.load(pair / f"{case}-{number}.pt", weights_only=True) for number in (0, 1)]
    for result in both:
        for name, value in alone.weights.items():
            torch.testing.assert_close(result["weights"][name], value, rtol=2e-3, atol=2e-5)
    assert both[0]["step"] == alone.step
    for (step, values), (step_alone, values_alone) in zip(both[0]["rows"], recorder.rows, strict=True):
        assert step == step_alone
        assert values == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in values_alone.items()}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_only_the_first_process_chooses(pair: Path, case: str) -> None:
    rows = torch.load(pair / f"{case}-1.pt", weights_only=True)["rows"]
    assert not any("probe_dsc" in values for _, values in rows)


@pytest.mark.long
def test_torchrun_starts_such_processes(pair: Path, tmp_path: Path) -> None:
    _run(tmp_path, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    for case in CASES:
        for number in (0, 1):
            forked, started = (torch.load(folder / f"{case}-{number}.pt", weights_only=True)["weights"] for folder in (pair, tmp_path))
            assert all(torch.equal(value, started[name]) for name, value in forked.items())


def _two_forks(folder: Path) -> None:
    """The two processes, with the variables that torchrun sets: forks, so that torch is imported once."""
    import torch._dynamo  # noqa: F401 -- which the first optimiser of each would import

    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    forks: list[int] = []
    for number in ("0", "1"):
        if not (process := os.fork()):
            os.environ.update(shared, RANK=number, LOCAL_RANK=number)
            end_with(lambda: _in_each_process(folder))
        forks.append(process)
    sys.exit(any([os.waitpid(process, 0)[1] for process in forks]))


if __name__ == "__main__":
    if "RANK" in os.environ:  # torchrun's
        end_with(lambda: _in_each_process(Path(sys.argv[1])))
    _two_forks(Path(sys.argv[1]))
