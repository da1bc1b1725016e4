"""Programs of this Python environment on the PATH: stages of dvc.yaml call `python`, users call `dvc`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path


def own_programs() -> Path:
    """Return the folder of the programs of this environment."""
    return Path(sys.executable).parent


def path_with_own_programs(environment: Mapping[str, str] = os.environ) -> str:
    """Return a PATH in which the programs of this environment come first."""
    return os.pathsep.join([str(own_programs()), environment.get("PATH", os.defpath)])


def path_has_own_python() -> bool:
    """Return whether `python` on the PATH is this Python. It is not after `uv tool install` or `pipx install`."""
    first = shutil.which("python")
    return first is not None and Path(first).parent == own_programs()
