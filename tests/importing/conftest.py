"""A lab's files as they come, for every test of this folder that asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.importing.lab import make_lab


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return make_lab(tmp_path)
