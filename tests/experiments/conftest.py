"""One MLflow store for all tests of experiments: creating one takes MLflow seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.experiments.tracking import ensure_store


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project that has a store."""
    folder = tmp_path_factory.mktemp("project").resolve()
    ensure_store(folder)
    return folder


@pytest.fixture(autouse=True)
def _no_store_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "ANGIOSYNTH_TRACKING", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
