"""The commands that begin a server on this machine: ui, serve."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from angiosynth.runtime.progress import tell

SCORES = "experiments/1/runs?workflowType=machine_learning&viewStateShareKey=scores"


def add_to(commands: typer.Typer) -> None:
    """Register the two commands."""
    commands.command()(ui)
    commands.command()(serve)


def ui(port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where the pages are, on 127.0.0.1.")] = 5000) -> None:
    """Show MLflow's pages of the runs, until Ctrl-C. The same as `make ui UI_PORT=5000`."""
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
    # By default MLflow answers to any name that leads to a private address, so that a page of the internet could have a browser ask here.
    names = [f"{name}:{port}" for name in (HERE, "localhost")]
    guard = ("--allowed-hosts", ",".join(names), "--cors-allowed-origins", ",".join(f"http://{name}" for name in names))
    environment = {"MLFLOW_BACKEND_STORE_URI": driven(uri), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    _become(environment, "ui", "--host", HERE, "--port", str(port), "--workers", "1", *guard)


def serve(
    model: Annotated[str, typer.Option("--model", help="A registered U-net: models:/NAME@ALIAS or models:/NAME/VERSION.")],
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it answers, on 127.0.0.1.")] = 5001,
) -> None:
    """Serve a registered U-net over HTTP, until Ctrl-C (docs/serving.md). The same as `make serve PORT=5001`."""
    from angiosynth.runtime.ports import listening

    with listening(port, f"make serve PORT={port + 2 if port < 65000 else 5001}") as listener:
        from angiosynth.verbs import serve as stage  # seconds, which a taken port need not wait for

        stage.serve(model, listener)


def _become(environment: dict[str, str], *words: str) -> None:
    """Go on as MLflow's own command: what ends this process then ends the server.

    MLflow looks for further commands on the path, where those of this interpreter need not be.
    """
    sys.stdout.flush()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", *words], {**os.environ, "PATH": path, **environment})
