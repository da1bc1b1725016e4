"""Define the commands besides the stages: segment, profile, sync, doctor, and the servers ui and serve."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from angiosynth.commands.options import PARAMS
from angiosynth.errors import InputError
from angiosynth.runtime.leftovers import clear_project
from angiosynth.runtime.private import close_places
from angiosynth.runtime.programs import path_with_own_programs
from angiosynth.runtime.progress import tell

SCORES = "experiments/1/runs?workflowType=machine_learning&viewStateShareKey=scores"


class DeviceName(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


def add_to(commands: typer.Typer) -> None:
    """Register the six commands."""
    commands.command()(segment)
    commands.command()(profile)
    commands.command()(sync)
    commands.command()(doctor)
    commands.command()(ui)
    commands.command()(serve)


def segment(
    scan: Annotated[Path, typer.Argument(help="The scan, in any format that import reads; or a BIDS data set, or a folder of scans.")],
    target: Annotated[
        Path, typer.Option("--output", "-o", help="The mask to write, .nii or .nii.gz, with a PNG next to it; for many scans a folder.")
    ],
    brain: Annotated[
        str, typer.Option("--mask", help="The brain mask; for a folder, a pattern as of import. Without it the whole volume is searched.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", help="A folder, or an MLflow URI: runs:/RUN, models:/NAME/VERSION or models:/NAME@ALIAS.")
    ] = "models/unet/real",
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing mask and PNG.")] = False,
    report: Annotated[
        Path | None, typer.Option("--report", help="JSON file to write: model, settings, versions, volumes by digest, warnings; no names.")
    ] = None,
    device: Annotated[DeviceName, typer.Option("--device", help="The device; auto uses a GPU if one is available.")] = DeviceName.auto,
    named: Annotated[str, typer.Option("--scan", help="For a folder that is not BIDS: pattern of the scans' names, such as '*_tof'.")] = "",
) -> None:
    """Segment the vessels of scans with a trained U-net, in each scan's grid.

    Scans are scaled by the intensity rule of the U-net's training. Mask and PNG are readable by you only. A model from MLflow is kept in a
    hidden folder next to them until the command ends. Example:

    python cli.py segment scan.nii.gz -o vessels.nii.gz --mask brain.nii.gz
    """
    from angiosynth.verbs import segment as stage
    from angiosynth.verbs import segment_folder

    if segment_folder.is_many(scan):
        works = segment_folder.works_in(scan, target, named, brain)
        tell(*segment_folder.segment_many(works, model, force=force, report=report, device=device.value))
        return
    if named:
        raise InputError(f"--scan {named!r}: is for a folder of scans, and {scan} is one scan; leave it out")
    mask = Path(brain) if brain else None
    tell(stage.segment(scan, target, mask, model, force=force, report=report, device=device.value))


def profile(
    name: Annotated[str, typer.Argument(help="A file of profiles/ without .yaml: demo, full, paper, real or quick.")],
    force: Annotated[bool, typer.Option("--force", help="Also replace edited settings; they are saved as params.yaml.bak.")] = False,
) -> None:
    """Write params.yaml from a profile, after validation. Edited settings are replaced only with --force."""
    from angiosynth.project.params import take_profile

    tell(take_profile(PARAMS, Path("profiles"), name, force) or f"{PARAMS}: has the settings of profile {name}")


def sync() -> None:
    """Send the entries that runs kept in mlruns/outbox while the MLflow server did not answer. The next stage does the same.

    Needs a server in MLFLOW_TRACKING_URI. An entry that is sent twice is recorded once. Entries of a running training are left to it.
    """
    from angiosynth.tracking import runs as tracking

    left = tracking.sync(tracking.project_root())
    tell("all is sent" if not left else f"{left} entries are left, of trainings that go on")


def doctor(
    fix: Annotated[
        bool,
        typer.Option("--fix", help="First make the safe repairs: close patients' folders, remove leftovers of killed runs, of DVC's too."),
    ] = False,
) -> None:
    """Check everything that a run needs: Python, packages, torch and device, settings, DVC, MLflow, Optuna, disk, memory.

    Each fault is printed with a command that repairs it or shows it in full. The exit code is 1 if a fault would prevent a run.
    """
    from angiosynth.verbs import doctor as stage

    if fix:
        from angiosynth.project.dvc_files import repair

        close_places(Path())
        clear_project(Path())
        repair(Path())
    table, healthy = stage.doctor(Path())
    tell(*table.split("\n"))
    if not healthy:
        raise typer.Exit(1)


def ui(port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the pages, on 127.0.0.1.")] = 5000) -> None:
    """Serve MLflow's pages of the runs until Ctrl-C. The same as `make ui UI_PORT=5000`."""
    from angiosynth.runtime.ports import HERE, free_or_refuse
    from angiosynth.tracking import runs as tracking
    from angiosynth.tracking.databases import driven

    root = tracking.project_root()
    uri = tracking.tracking_uri(root)
    if uri.startswith("http"):
        tell("MLFLOW_TRACKING_URI names a server; its pages are at that address")
        return
    free_or_refuse(port, f"make ui UI_PORT={port + 2 if port < 65000 else 5000}")
    tracking.ensure_store(root)
    tell(f"The generators' runs: http://{HERE}:{port}/#/{SCORES}")
    # By default MLflow accepts any host name that resolves to a private address. A web page could then send requests through the browser.
    names = [f"{name}:{port}" for name in (HERE, "localhost")]
    guard = ("--allowed-hosts", ",".join(names), "--cors-allowed-origins", ",".join(f"http://{name}" for name in names))
    environment = {"MLFLOW_BACKEND_STORE_URI": driven(uri), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    _become(environment, "ui", "--host", HERE, "--port", str(port), "--workers", "1", *guard)


def serve(
    model: Annotated[str, typer.Option("--model", help="A registered U-net: models:/NAME@ALIAS or models:/NAME/VERSION.")],
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the server, on 127.0.0.1.")] = 5001,
) -> None:
    """Serve a registered U-net over HTTP until Ctrl-C (docs/serving.md). The same as `make serve PORT=5001`."""
    from angiosynth.runtime.ports import listening

    with listening(port, f"make serve PORT={port + 2 if port < 65000 else 5001}") as listener:
        from angiosynth.verbs import serve as stage  # takes seconds, so it comes after the check of the port

        stage.serve(model, listener)


def _become(environment: dict[str, str], *arguments: str) -> None:
    """Replace this process with MLflow's command, so that signals reach the server.

    MLflow looks for further programs on the PATH, so the folder of this interpreter comes first.
    """
    sys.stdout.flush()
    environment = {**os.environ, "PATH": path_with_own_programs(), **environment}
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", *arguments], environment)
