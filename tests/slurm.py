"""A Slurm cluster on this machine for tests: munged, slurmctld and a slurmd a node, each in a folder of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import free_port

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue", "scancel", "srun")
PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"))
GPUS = "Name=gpu File=/dev/tty[1-2]\n"  # any two devices: nothing opens them
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "PREEMPTED"})
NODES = ("node1", "node2")  # of two CPUs and two such GPUs each
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={home}/munge.socket,cred_expire=5
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=30
SchedulerParameters=batch_sched_delay=0,sched_interval=2
GresTypes=gpu
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=2000 Gres=gpu:2
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=2000 Gres=gpu:2
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running cluster: its folder and the variables by which Slurm's commands find it."""

    home: Path
    variables: dict[str, str]

    def call(self, *words: str) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run(words, env={**os.environ, **self.variables}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout.strip()

    def states(self, job: str) -> dict[str, str]:
        """State of each task of a job that has not been forgotten, by its id: {"7_0": "RUNNING"}."""
        lines = self.call("squeue", "--noheader", "--states=all", "--array", "--jobs", job, "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait(self, job: str, seconds: float = 900) -> dict[str, str]:
        """Wait until all tasks of a job have ended; gives their states."""
        until = time.monotonic() + seconds
        while not ENDED.issuperset((states := self.states(job)).values()):
            assert time.monotonic() < until, f"job {job} has not ended: {states}"
            time.sleep(0.5)
        return states


@contextmanager
def slurm(home: Path) -> Iterator[Cluster]:
    """Start a cluster of two nodes. Skips where Slurm or a right is missing."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing or os.geteuid() != 0 or not Path("/dev/tty2").exists():
        pytest.skip(f"no Slurm cluster can be started here, root and slurm-wlm are asked for ({', '.join(missing) or 'installed'})")
    (home / "munge").mkdir(parents=True, mode=0o700)
    (home / "state").mkdir()
    (key := home / "munge" / "key").write_bytes(os.urandom(1024))
    key.chmod(0o400)
    ports = [free_port() for _ in range(3)]
    (home / "slurm.conf").write_text(CONFIGURATION.format(home=home, host=os.uname().nodename, ports=ports))
    (home / "gres.conf").write_text(GPUS)
    cluster = Cluster(home, {"SLURM_CONF": str(home / "slurm.conf"), "PATH": PATH})
    munge = [f"--{name}={home / 'munge' / name}" for name in ("pid-file", "log-file", "seed-file")]
    daemons: list[Sequence[str]] = [
        ("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={home / 'munge.socket'}", *munge),
        ("slurmctld", "-D", "-c", "-f", str(home / "slurm.conf")),
        *(("slurmd", "-D", "-f", str(home / "slurm.conf"), "-N", node) for node in NODES),
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with (home / "output").open("w") as output:
            for words in daemons:
                processes.append(subprocess.Popen(words, env={**os.environ, **cluster.variables}, stdout=output, stderr=output))
                time.sleep(0.5)
        _wait_for_nodes(cluster)
        yield cluster
    finally:
        with suppress(AssertionError):
            cluster.call("scancel", "--full", "--user", "root")
            time.sleep(1)
        for process in reversed(processes):
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


def _wait_for_nodes(cluster: Cluster) -> None:
    until = time.monotonic() + 120
    said = ""
    while time.monotonic() < until:
        with suppress(AssertionError):
            said = cluster.call("sinfo", "--noheader", "--Node", "--format=%T")
            if said.split() == ["idle"] * len(NODES):
                return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-1500:] for path in (*cluster.home.glob("*.log"), cluster.home / "output"))
    pytest.fail(f"the nodes are {said or 'unknown'}: {logs}")
