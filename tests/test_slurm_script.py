"""The branches of deploy/slurm/train-generator.sbatch, with stand-ins for Slurm's programs; test_slurm.py has a real cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.documented import ROOT

# Stands for srun: a training that ends on the step's signal with STOPPED, or by itself after LASTS_S with ENDS.
SRUN = """#!/bin/bash
trap 'sleep 0.1; exit $STOPPED' USR1
echo $BASHPID > training.pid
for _ in $(seq $LASTS_DS); do sleep 0.1; done
exit $ENDS
"""
STAND_INS = {
    "srun": SRUN,
    "scancel": '#!/bin/bash\necho "scancel $*" >> calls\nkill -USR1 "$(cat training.pid)"\n',
    "scontrol": '#!/bin/bash\ncase $1 in show) echo "node1 NodeAddr=127.0.0.1 ";; *) echo "scontrol $*" >> calls;; esac\n',
    "dvc": '#!/bin/bash\necho "dvc $*" >> calls\n',
}
SIGNALLED, REQUEUED, COMMITTED = "scancel --signal=TERM 7.0", "scontrol requeue 7", "dvc commit --force train-generator@wgan-gp"


@pytest.mark.parametrize(
    ("signalled", "stopped", "ends", "code", "calls"),
    [
        (False, 1, 0, 0, [COMMITTED]),
        (False, 1, 3, 3, []),
        (True, 1, 0, 0, [SIGNALLED, REQUEUED]),
        (True, 0, 0, 0, [SIGNALLED, COMMITTED]),
    ],
    ids=["done", "failed", "out of time", "done as time runs out"],
)
def test_a_training_is_committed_when_done_and_asked_for_again_when_stopped(
    signalled: bool, stopped: int, ends: int, code: int, calls: list[str], tmp_path: Path
) -> None:
    (programs := tmp_path / "programs").mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    slurm = {"JOB_ID": "7", "CPUS_PER_TASK": "1", "GPUS_ON_NODE": "2", "JOB_NODELIST": "node1", "JOB_NUM_NODES": "1"}
    variables = {f"SLURM_{name}": value for name, value in slurm.items()} | {"MODEL": "wgan-gp", "STOPPED": str(stopped)}
    variables |= {"ENDS": str(ends), "LASTS_DS": "300" if signalled else "1", "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    script = subprocess.Popen(["bash", ROOT / "deploy" / "slurm" / "train-generator.sbatch"], cwd=tmp_path, env=os.environ | variables)
    if signalled:
        until = time.monotonic() + 30
        while not (tmp_path / "training.pid").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        script.send_signal(signal.SIGTERM)
    assert script.wait(60) == code
    assert ((tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []) == calls
