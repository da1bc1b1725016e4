"""Projects of a few shell commands as DVC's stages, for tests of what runs them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from dvc.repo import Repo

from angiosynth.runtime.warm import warm_server
from angiosynth.verbs import repro


def empty_dvc(folder: Path) -> None:
    """`dvc init --no-scm`."""
    Repo.init(str(folder), no_scm=True).close()


def without_libraries(patch: pytest.MonkeyPatch) -> None:
    """`repro` with a warm process that imports nothing: its libraries take seconds, and a shell's commands use none."""
    patch.setattr(repro, "warm_server", partial(warm_server, libraries=()))
