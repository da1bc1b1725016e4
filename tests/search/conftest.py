"""A project with a store, and servers for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from angiosynth.search import storage
from angiosynth.tracking.databases import wait_for
from tests.stores import no_store_of_the_user, postgres, root, server_home

__all__ = ["no_store_of_the_user", "postgres", "root", "server_home"]
SCHEME = "sqlite:///"


def _write_tables(folder: Path) -> None:
    optuna.storages.RDBStorage(f"{SCHEME}{folder}/optuna.db").engine.dispose()


@pytest.fixture(autouse=True)
def studies(once: Callable[[str, Callable[[Path], None]], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A database of studies begins as a copy of one with Optuna's tables and no study, which takes Optuna half a second to make."""
    tables = once("optuna", _write_tables) / "optuna.db"

    def laid(uri: str, name: str) -> None:
        path = Path(uri.removeprefix(SCHEME))
        if uri.startswith(SCHEME) and not path.exists():
            shutil.copy(tables, path)
        wait_for(uri, name)

    monkeypatch.setattr(storage, "wait_for", laid)
