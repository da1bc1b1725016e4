"""A package, and its contents as exporters are handed them."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.exports.base import Contents
from angiosynth.exports.opening import open_contents
from tests.release.conftest import audited as audited
from tests.release.conftest import package as package
from tests.release.conftest import synthetic as synthetic


@pytest.fixture
def contents(package: Path, tmp_path: Path) -> Contents:
    return open_contents(package, None, tmp_path / "unpacked")[0]
