"""MLflow's pages as `make ui` serves them, looked at by a headless Chromium: the table, a run's sample pictures, the plots that compare."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
import pytest

from angiosynth.project.facts import generator_settings, transfer_settings, unet_settings
from angiosynth.report.figures import contact_sheet
from angiosynth.settings import load_settings
from angiosynth.tracking.runs import RunSpec, ensure_store, tracking_uri, training_run
from tests.browser import Browser, chromium, wait_for

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.browser, pytest.mark.service, pytest.mark.slow, pytest.mark.long]
LOG = "server.log"
SCORES = {"val_dsc": 0.8125, "val_hd95_mm": 6.25, "test_dsc": 0.75, "test_hd95_mm": 7.5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own, so that no other test's runs stand in the tables."""
    return tmp_path_factory.mktemp("browsed").resolve()


@pytest.fixture(scope="module")
def pages(home: Path) -> Iterator[str]:
    """The address of MLflow's pages of that store, served as `make ui` does; they take seconds to come, meanwhile runs are made."""
    if chromium() is None:
        pytest.skip("no Chromium here: install chromium to look at the pages")
    ensure_store(home)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", tracking_uri(home)]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (home / LOG).open("w") as log:
        server = subprocess.Popen(words, env=os.environ | quiet, stdout=log, stderr=log, cwd=home, start_new_session=True)
    yield f"http://127.0.0.1:{port}/"
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


@pytest.fixture(scope="module")
def runs(home: Path, pages: str) -> dict[str, list[str]]:
    """Two runs of generators, two of U-nets, one of transfer, as the stages record them; the ids by experiment."""
    settings = load_settings(ROOT / "profiles" / "demo.yaml")
    picture = home / "samples.png"
    pairs = np.random.default_rng(0).random((6, 32, 32), np.float32) * 2 - 1
    contact_sheet(pairs, (pairs > 0.5).astype(np.uint8), picture)
    made: dict[str, list[str]] = {"generator": [], "unet": [], "transfer": []}
    described: list[tuple[str, str, dict[str, Any]]] = [
        *(("generator", model, generator_settings(settings, model)) for model in ("dcgan", "wgan-gp")),
        *(("unet", f"unet {data}", unet_settings(settings, data)) for data in ("real", "wgan-gp")),
        ("transfer", "transfer wgan-gp site-b", transfer_settings(settings, "wgan-gp", "site-b")),
    ]
    for number, (experiment, name, facts) in enumerate(described):
        with training_run(RunSpec(experiment, name, stage="test", settings=facts), root=home, lineage=False) as run:
            run.metrics({"loss": 1.0}, 1)
            run.final({key: value + number / 100 for key, value in SCORES.items()}, 2)
            run.artifact(picture)
        made[experiment].append(run.id)
    return made


@pytest.fixture(scope="module")
def browser(home: Path, pages: str, runs: dict[str, list[str]]) -> Iterator[Browser]:
    with Browser(str(chromium())) as opened:
        wait_for(lambda: _answers(pages), lambda: f"no answer from {pages}\n{(home / LOG).read_text()[-2000:]}")
        yield opened


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}health", timeout=5) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False


def runs_page(experiment: int, mode: str = "TABLE") -> str:
    return f"#/experiments/{experiment}/runs?workflowType=machine_learning&viewStateShareKey=scores&compareRunsMode={mode}"


@pytest.mark.parametrize(
    ("experiment", "names", "figures"),
    [
        (1, ["dcgan", "wgan-gp"], ["0.8125", "0.8225", "6.25", "7.5"]),
        (2, ["unet real", "unet wgan-gp"], ["0.8325"]),
        (3, ["transfer wgan-gp site-b"], ["0.8525"]),
    ],
)
def test_the_table_shows_names_and_scores(browser: Browser, pages: str, experiment: int, names: list[str], figures: list[str]) -> None:
    browser.open(pages + runs_page(experiment))
    browser.wait_text("Run Name", *names, *SCORES, *figures)


def test_a_runs_page_shows_its_sample_pictures(browser: Browser, pages: str, runs: dict[str, list[str]]) -> None:
    browser.open(f"{pages}#/experiments/1/runs/{runs['generator'][1]}/artifacts/samples.png?workflowType=machine_learning")
    browser.wait_text("wgan-gp", "samples.png")
    # The picture is drawn by the pages' own plot or element: either way pixels as wide as the sheet's own have come.
    browser.wait("[...document.images].some(image => image.complete && image.naturalWidth > 100 && image.src.startsWith('blob:'))")


def test_the_plot_of_the_view_shows_scores_over_settings(browser: Browser, pages: str) -> None:
    browser.open(pages + runs_page(1, "CHART"))
    browser.wait_text("Parallel Coordinates", "val_dsc", "val_hd95_mm", "genera...ations")
    assert "dcgan" in browser.text()


def test_the_compare_page_has_its_parallel_coordinates(browser: Browser, pages: str, runs: dict[str, list[str]]) -> None:
    chosen = json.dumps([*runs["generator"], *runs["unet"]])
    browser.open(f'{pages}#/compare-runs?runs={chosen}&experiments=["1","2"]&workflowType=machine_learning')
    browser.wait_text("Comparing 4 Runs", "Parallel Coordinates Plot", "unet wgan-gp", *SCORES)
    browser.wait("document.querySelectorAll('.parcoords .axis-title, .parcoords .y-axis').length > 1")
