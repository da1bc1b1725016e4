"""The commands that begin a server on this machine: ui, serve."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from angiosynth.errors import InputError

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
        typer.echo("MLFLOW_TRACKING_URI names a server; its pages are at that address")
        return
    free_or_refuse(port, f"make ui UI_PORT={port + 2 if port < 65000 else 5000}")
    tracking.ensure_store(root)
    typer.echo(f"The generators' runs: http://{HERE}:{port}/#/{SCORES}")
    _become({"MLFLOW_BACKEND_STORE_URI": driven(uri)}, "ui", "--host", HERE, "--port", str(port), "--workers", "1")


def serve(
    model: Annotated[str, typer.Option("--model", help="A registered U-net: models:/NAME@ALIAS or models:/NAME/VERSION.")],
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Where it answers, on 127.0.0.1.")] = 5001,
) -> None:
    """Serve a registered U-net over HTTP, until Ctrl-C (docs/serving.md). The same as `make serve PORT=5001`."""
    from angiosynth.runtime.ports import HERE, free_or_refuse
    from angiosynth.tracking import runs as tracking
    from angiosynth.tracking.databases import driven
    from angiosynth.tracking.opening import look_up

    root = tracking.project_root()
    free_or_refuse(port, f"make serve PORT={port + 2 if port < 65000 else 5001}")
    if not model.startswith("models:/"):
        raise InputError(f"--model {model}: names no registered model; write models:/NAME@ALIAS or models:/NAME/VERSION, see `make ui`")
    look_up(root, model)
    environment = {"MLFLOW_TRACKING_URI": driven(tracking.tracking_uri(root)), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
    words = ("--model-uri", model, "--host", HERE, "--port", str(port), "--env-manager", "local")
    _become(environment, "models", "serve", *words)


def _become(environment: dict[str, str], *words: str) -> None:
    """Go on as MLflow's own command: what ends this process then ends the server.

    MLflow looks for further commands on the path, where those of this interpreter need not be.
    """
    sys.stdout.flush()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    os.execve(sys.executable, [sys.executable, "-m", "mlflow", *words], {**os.environ, "PATH": path, **environment})
