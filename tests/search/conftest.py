"""A project with a store, and servers for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.storages._rdb.storage import _VersionManager

from angiosynth.search import storage
from angiosynth.tracking.databases import wait_for
from tests.stores import no_store_of_the_user, postgres, root, server_home

__all__ = ["no_store_of_the_user", "postgres", "root", "server_home"]
SCHEME = "sqlite:///"
_heads: dict[str, str] = {}
_head_of = _VersionManager.get_head_version


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
    monkeypatch.setattr(_VersionManager, "get_head_version", _known_head)


def _known_head(manager: _VersionManager) -> str:
    """Optuna's newest version of its tables. It reads its thirty migrations anew whenever a database is opened."""
    return _heads.get("head") or _heads.setdefault("head", _head_of(manager))
