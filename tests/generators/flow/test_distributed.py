"""Two processes end where one does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from angiosynth.compute.distributed import joined, rank, world_size
from angiosynth.generators.base import TrainedGenerator
from angiosynth.generators.flow.training import train_flow
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.recorder import ListRecorder
from tests.factories import tiny_flow, tiny_patches
from tests.generators.probe import Probe

ROOT = Path(__file__).resolve().parents[3]
MODULE = "tests.generators.flow.test_distributed"


def _train(folder: Path, recorder: ListRecorder) -> TrainedGenerator:
    settings = tiny_flow(precision="float32", label="distance", steps=6, checkpoint_every=100)
    return train_flow("flow", settings, tiny_patches(), Probe(), Checkpoints(folder), recorder)


def _in_each_process(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined():
        assert world_size() == 2
        recorder = ListRecorder()
        trained = _train(folder / f"resume-{rank()}", recorder)
        torch.save({"weights": trained.weights, "rows": recorder.rows, "step": trained.step}, folder / f"{rank()}.pt")


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one_and_the_first_alone_is_probed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", MODULE, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    recorder = ListRecorder()
    alone = _train(tmp_path / "alone", recorder)
    both = [torch.load(tmp_path / f"{number}.pt", weights_only=True) for number in (0, 1)]
    for result in both:
        for name, value in alone.weights.items():
            torch.testing.assert_close(result["weights"][name], value, rtol=2e-3, atol=2e-5)
    assert both[0]["step"] == alone.step
    for (step, values), (own_step, own) in zip(both[0]["rows"], recorder.rows, strict=True):
        assert step == own_step
        assert values == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in own.items()}
    assert not any("probe_dsc" in values for _, values in both[1]["rows"])


if __name__ == "__main__":
    _in_each_process(Path(sys.argv[1]))
