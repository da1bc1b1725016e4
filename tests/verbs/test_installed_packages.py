"""Doctor's check of packages in a project folder, which has no requirements.lock."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from angiosynth.verbs.installed_packages import packages

NEEDS = ["numpy>=1", "scipy>=999", "no-such-package", 'ruff>=999; extra == "dev"']


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.setattr(metadata, "requires", lambda name: NEEDS)
    return tmp_path


def test_needs_of_extras_do_not_count_and_faults_are_named(project: Path) -> None:
    (result,) = packages(project)
    assert (result.result, result.fault) == ("1 of 3 as angiosynth needs them", True)
    assert result.advice.startswith(f"scipy {metadata.version('scipy')} instead of >=999, no-such-package is missing; ")


def test_all_there_is_no_fault(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=1"])
    (result,) = packages(project)
    assert (result.result, result.advice, result.fault) == ("1 of 1 as angiosynth needs them", "", False)


def test_an_environment_without_the_package_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", nobody)
    (result,) = packages(project)
    assert result.fault
    assert "not installed" in result.result
