"""deploy/slurm's scripts on a real Slurm cluster of two nodes on this machine, submitted as docs/team.md has it.

Only the lines #SBATCH are adapted, as that page asks for: fewer CPUs, less memory and time. GPUs are names that nothing opens, so the
processes train on CPUs.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from angiosynth.search.results import counted
from angiosynth.search.sweep import load_sweep
from angiosynth.settings import Settings
from tests.documented import ROOT, clone_of_the_project, run
from tests.factories import tiny_tree
from tests.servers import Postgres
from tests.slurm import Cluster, slurm
from tests.stores import postgres as postgres

pytestmark = [pytest.mark.service, pytest.mark.slow]
TRAIN = "sbatch --export=ALL,MODEL=wgan-gp-sn deploy/slurm/train-generator.sbatch"
SWEEP = "sbatch --export=ALL,MODEL=wgan-gp-sn,STUDY=rates,TRIALS=40 deploy/slurm/sweep.sbatch"
SMALL = {"cpus-per-task": "2", "mem": "1G", "gpus-per-node": "2", "time": "60"}
MODEL, TRIALS = "wgan-gp-sn", 8


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture(scope="module")
def patched(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose patches are cut."""
    del cluster  # skips before the work
    folder = tmp_path_factory.mktemp("project")
    clone_of_the_project(folder, ["phantom", "cohort", "patches", "train-generator"])
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    (folder / "mlruns").mkdir()
    _take_settings(folder, steps=4)
    run(folder, "git add -A && git commit -q -m deploy && dvc repro patches@site-a")
    return folder


@pytest.fixture
def project(patched: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of it, its generator trained for a number of steps, its scripts' #SBATCH lines adapted."""

    def copied(name: str, steps: int, **lines: str) -> Path:
        folder = shutil.copytree(patched, tmp_path / name, symlinks=True)
        _take_settings(folder, steps)
        for script in (folder / "deploy" / "slurm").iterdir():
            text = script.read_text()
            for option, value in {**SMALL, **{option.replace("_", "-"): value for option, value in lines.items()}}.items():
                text = re.sub(rf"(?m)^#SBATCH --{option}=.*$", f"#SBATCH --{option}={value}", text)
            script.write_text(text)
        return folder

    return copied


def _take_settings(folder: Path, steps: int) -> None:
    tree = tiny_tree()
    tree["threads"] = 1
    # A turn may end while the last probe runs, after the last step: without a checkpoint the next would repeat all since the last signal.
    tree["generator_defaults"] |= {"checkpoint_every": 50, "probes": 1}
    tree["generators"][MODEL]["steps"] = steps
    full = Settings.model_validate(tree).model_dump(mode="json", by_alias=True)
    full["phantom"]["sites"] = tree["phantom"]["sites"]
    (folder / "params.yaml").write_text(yaml.safe_dump({**full, "generators": tree["generators"]}))


def _submit(cluster: Cluster, folder: Path, command: str, places: dict[str, str] | None = None, **variables: str) -> str:
    """The id of the job."""
    exports = "".join(f"export {name}='{value}'\n" for name, value in (cluster.variables | variables).items() if name != "PATH")
    (number,) = re.findall(r"Submitted batch job (\d+)", run(folder, f"{exports}{command}", places))
    return str(number)


def _generator(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = torch.load(folder / "models" / "generators" / MODEL / "generator.pt", weights_only=True)
    return weights


def _check_same(folder: Path, other: Path) -> None:
    weights, expected = _generator(folder), _generator(other)
    assert weights.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(weights[name], expected[name])] == []


def _wait_for(folder: Path, job: str, pattern: str) -> None:
    """Wait until a job's or a task's log has a text."""
    log, until = folder / "mlruns" / f"slurm-{job}.log", time.monotonic() + 900
    while not (log.exists() and re.search(pattern, log.read_text())):
        assert time.monotonic() < until, log.read_text()[-3000:] if log.exists() else "no log"
        time.sleep(0.1)


def test_a_training_that_is_requeued_at_its_time_limit_ends_as_one_that_is_not(cluster: Cluster, project: Callable[..., Path]) -> None:
    """And `dvc repro` goes on behind it: there is nothing left to run."""
    pace = project("pace", steps=60)
    job = _submit(cluster, pace, TRAIN)
    begun = time.monotonic()
    _wait_for(pace, job, rf"train-generator {MODEL}: \d")
    start_s = time.monotonic() - begun
    assert cluster.wait(job) == {job: "COMPLETED"}
    step_s = max(0.002, (time.monotonic() - begun - start_s) / 60)
    minutes = 2 + int(start_s / 60)  # Slurm's signal comes up to a minute before it is due
    steps = int(75 * minutes / step_s)
    whole, limited = project("whole", steps=steps), project("limited", steps=steps, time=str(minutes), signal="B:TERM@30")
    jobs = [_submit(cluster, folder, TRAIN) for folder in (whole, limited)]
    for number, folder in zip(jobs, (whole, limited), strict=True):
        assert cluster.wait(number, 3000) == {number: "COMPLETED"}, (folder / "mlruns" / f"slurm-{number}.log").read_text()[-3000:]
    log = (limited / "mlruns" / f"slurm-{jobs[1]}.log").read_text()
    stops = re.findall(r"stopped by a signal, saved at step (\d+)", log)
    assert stops, log[-3000:]
    assert set(re.findall(r"goes on at step (\d+)", log)) >= {stops[0]}
    assert int(cluster.call("scontrol", "show", "job", jobs[1]).partition("Restarts=")[2].split()[0]) >= 1
    _check_same(limited, whole)
    assert "didn't change, skipping" in run(limited, f"dvc repro --single-item train-generator@{MODEL}")


def test_two_nodes_train_as_one_does(cluster: Cluster, project: Callable[..., Path]) -> None:
    one = project("one-node", steps=20)
    two = project("two-nodes", steps=20, nodes="2", gpus_per_node="1", cpus_per_task="1")
    for folder in (one, two):
        job = _submit(cluster, folder, TRAIN)
        assert cluster.wait(job) == {job: "COMPLETED"}, (folder / "mlruns" / f"slurm-{job}.log").read_text()[-3000:]
    assert re.search(r"NumNodes=2\b", cluster.call("scontrol", "show", "job", job))
    _check_same(two, one)


def test_a_training_that_fails_is_not_asked_for_again(cluster: Cluster, project: Callable[..., Path]) -> None:
    folder = project("unknown", steps=4)
    job = _submit(cluster, folder, TRAIN, {"MODEL=wgan-gp-sn": "MODEL=no-such"})
    assert cluster.wait(job) == {job: "FAILED"}
    assert "no-such" in (folder / "mlruns" / f"slurm-{job}.log").read_text()


def test_a_sweep_outlives_a_cancelled_worker_and_a_drained_node(
    cluster: Cluster, project: Callable[..., Path], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four workers over PostgreSQL; one is cancelled in a trial, then a node is drained. As many trials as asked for, then more."""
    folder = project("sweep", steps=4, array="0-3", cpus_per_task="1", gres="gpu:1")
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", postgres.uris["optuna"])
    where = {"ANGIOSYNTH_STUDIES": postgres.uris["optuna"]}
    job = _submit(cluster, folder, SWEEP, {"TRIALS=40": f"TRIALS={TRIALS}"}, **where)
    _wait_for(folder, f"{job}_2", "trial")
    cluster.call("scancel", f"{job}_2")
    cluster.call("scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    try:
        states = cluster.wait(job)
        logs = "\n".join(path.read_text()[-1500:] for path in (folder / "mlruns").glob("slurm-*.log"))
        assert states == {f"{job}_{task}": "CANCELLED" if task == 2 else "COMPLETED" for task in range(4)}, logs
        monkeypatch.chdir(folder)
        assert _counted(folder) == TRIALS
        again = _submit(cluster, folder, SWEEP, {"TRIALS=40": f"TRIALS={TRIALS + 2}"}, **where)
        assert set(cluster.wait(again).values()) == {"COMPLETED"}
        assert _counted(folder) == TRIALS + 2
        assert "node2" not in cluster.call("squeue", "--noheader", "--states=all", "--jobs", again, "--format=%N")
    finally:
        cluster.call("scontrol", "update", "nodename=node2", "state=resume")


def _counted(folder: Path) -> int:
    return counted(load_sweep(folder, "rates").trials)
