"""deploy/slurm's scripts on a real Slurm cluster of two nodes on this machine, submitted as docs/team.md has it.

Only the lines #SBATCH are adapted, as that page asks for: fewer CPUs, less memory and time. GPUs are names that nothing opens, so the
processes train on CPUs.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from angiosynth.search.results import counted
from angiosynth.search.sweep import load_sweep
from tests.documented import ROOT, clone_of_the_project, run
from tests.factories import full_params, tiny_tree
from tests.servers import Postgres
from tests.slurm import Cluster, slurm
from tests.stores import postgres as postgres

pytestmark = [pytest.mark.service, pytest.mark.slow]
TRAIN = "sbatch --export=ALL,MODEL=wgan-gp-sn deploy/slurm/train-generator.sbatch"
SWEEP = "sbatch --export=ALL,MODEL=wgan-gp-sn,STUDY=rates,TRIALS=40 deploy/slurm/sweep.sbatch"
SMALL = {"cpus_per_task": "2", "mem": "1G", "gpus_per_node": "2", "time": "60"}
MODEL, STEPS, TRIALS = "wgan-gp-sn", 40, 6


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
    tree = tiny_tree() | {"threads": 1}
    tree["generators"] = {MODEL: tree["generators"][MODEL] | {"steps": STEPS}}
    (folder / "params.yaml").write_text(full_params(tree))
    run(folder, "git add -A && git commit -q -m deploy && dvc repro patches@site-a")
    return folder


@pytest.fixture(scope="module")
def project(patched: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a copy of it, its scripts' #SBATCH lines adapted."""

    def copied(name: str, **lines: str) -> Path:
        folder = shutil.copytree(patched, tmp_path_factory.mktemp("copies") / name, symlinks=True)
        _adapt(folder, **SMALL | lines)
        return folder

    return copied


def _adapt(folder: Path, **lines: str) -> None:
    """Set options of the #SBATCH lines of a project's scripts; hyphens are underscores."""
    for script in (folder / "deploy" / "slurm").iterdir():
        text = script.read_text()
        for option, value in lines.items():
            text = re.sub(rf"(?m)^#SBATCH --{option.replace('_', '-')}=.*$", f"#SBATCH --{option.replace('_', '-')}={value}", text)
        script.write_text(text)


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


def _wait(reached: Callable[[], bool], folder: Path) -> None:
    """Wait for something that a project's jobs do."""
    until = time.monotonic() + 900
    while not reached():
        assert time.monotonic() < until, _logs(folder)
        time.sleep(0.02)


def _logs(folder: Path) -> str:
    """The ends of its jobs' logs."""
    return "\n".join(path.read_text()[-3000:] for path in sorted((folder / "mlruns").glob("slurm-*.log"))) or "no log"


def _complete(cluster: Cluster, folder: Path, job: str) -> str:
    """Wait for a job's end; gives its log."""
    assert cluster.wait(job) == {job: "COMPLETED"}, _logs(folder)
    return (folder / "mlruns" / f"slurm-{job}.log").read_text()


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, project: Callable[..., Path]) -> Path:
    """A project whose generator was trained by two processes of one node, in one turn."""
    folder = project("undisturbed")
    _complete(cluster, folder, _submit(cluster, folder, TRAIN))
    return folder


def test_a_training_that_is_requeued_at_its_time_limit_ends_as_one_that_is_not(
    cluster: Cluster, project: Callable[..., Path], undisturbed: Path
) -> None:
    """And `dvc repro` goes on behind it: there is nothing left to run. Frozen, the first turn reaches its limit without computing."""
    limited = project("limited", time="2", signal="B:TERM@30")
    job = _submit(cluster, limited, TRAIN)
    _freeze_until_sigterm(limited)
    log = _complete(cluster, limited, job)
    stops = re.findall(r"stopped by a signal, saved at step (\d+)", log)  # on a slow day the second turn has too little time as well
    assert 0 < int(stops[0]) < STEPS
    assert set(re.findall(r"goes on at step (\d+)", log)) == set(stops)
    assert int(cluster.call("scontrol", "show", "job", job).partition("Restarts=")[2].split()[0]) >= 1
    _check_same(limited, undisturbed)
    assert "didn't change, skipping" in run(limited, f"dvc repro --single-item train-generator@{MODEL}")


def _freeze_until_sigterm(folder: Path) -> None:
    """Stop a project's training between two steps and let it go on once Slurm's signal waits for one of its processes."""
    _wait(lambda: any(folder.glob(".work/train-generator-*/*/step-*.ckpt")), folder)
    processes = [int(place.name) for place in Path("/proc").glob("[0-9]*") if _trains(place, folder)]
    assert len(processes) == 2, processes
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        _wait(lambda: any(_sigterm_waits(process) for process in processes), folder)
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)


def _trains(place: Path, folder: Path) -> bool:
    """Whether a process, a folder of /proc, is one of those that `torchrun` has started in a project."""
    try:
        return (place / "cwd").resolve() == folder and b"\0LOCAL_RANK=" in (place / "environ").read_bytes()
    except OSError:  # it has ended
        return False


def _sigterm_waits(process: int) -> bool:
    (pending,) = re.findall(r"^ShdPnd:\s*([0-9a-f]+)", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    return bool(int(pending, 16) >> (signal.SIGTERM - 1) & 1)


def test_two_nodes_train_as_one_does(cluster: Cluster, project: Callable[..., Path], undisturbed: Path) -> None:
    two = project("two-nodes", nodes="2", gpus_per_node="1", cpus_per_task="1")
    job = _submit(cluster, two, TRAIN)
    _complete(cluster, two, job)
    assert re.search(r"NumNodes=2\b", cluster.call("scontrol", "show", "job", job))
    _check_same(two, undisturbed)


def test_a_training_that_fails_is_not_asked_for_again(cluster: Cluster, project: Callable[..., Path]) -> None:
    folder = project("unknown", gpus_per_node="1")
    job = _submit(cluster, folder, TRAIN, {"MODEL=wgan-gp-sn": "MODEL=no-such"})
    assert cluster.wait(job) == {job: "FAILED"}
    assert "no-such" in (folder / "mlruns" / f"slurm-{job}.log").read_text()


def test_a_sweep_outlives_a_cancelled_worker_and_a_drained_node(
    cluster: Cluster, project: Callable[..., Path], postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three workers over PostgreSQL; one is cancelled in a trial, then a node is drained. As many trials as asked for, then more."""
    folder = project("sweep", array="0-2", cpus_per_task="1", gres="gpu:1")
    monkeypatch.setenv("ANGIOSYNTH_STUDIES", postgres.uris["optuna"])
    where = {"ANGIOSYNTH_STUDIES": postgres.uris["optuna"]}
    job = _submit(cluster, folder, SWEEP, {"TRIALS=40": f"TRIALS={TRIALS}"}, **where)
    log = folder / "mlruns" / f"slurm-{job}_1.log"
    _wait(lambda: log.exists() and "trial" in log.read_text(), folder)
    cluster.call("scancel", f"{job}_1")
    cluster.call("scontrol", "update", "nodename=node2", "state=drain", "reason=test")
    try:
        assert cluster.wait(job) == {f"{job}_0": "COMPLETED", f"{job}_1": "CANCELLED", f"{job}_2": "COMPLETED"}, _logs(folder)
        monkeypatch.chdir(folder)
        assert _counted(folder) == TRIALS
        _adapt(folder, array="0-0")
        again = _submit(cluster, folder, SWEEP, {"TRIALS=40": f"TRIALS={TRIALS + 1}"}, **where)
        assert set(cluster.wait(again).values()) == {"COMPLETED"}, _logs(folder)
        assert _counted(folder) == TRIALS + 1
        assert "node2" not in cluster.call("squeue", "--noheader", "--states=all", "--jobs", again, "--format=%N")
    finally:
        cluster.call("scontrol", "update", "nodename=node2", "state=resume")


def _counted(folder: Path) -> int:
    return counted(load_sweep(folder, "rates").trials)
