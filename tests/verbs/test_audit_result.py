"""What `audit --show` prints: the words of the audit's page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from angiosynth.cli import commands
from angiosynth.errors import InputError
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.report.audit_summary import audit_summary
from angiosynth.runtime.output import write_json
from angiosynth.verbs.audit_result import audit_lines
from tests.audits import audit_tree
from tests.factories import tiny_tree


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A project with the set of an audit that found nothing, and that audit."""
    monkeypatch.chdir(tmp_path)
    home = Workspace()
    for folder in (home.synthetic("wgan-gp"), home.audit("wgan-gp")):
        folder.mkdir(parents=True)
    for name in ("image", "label"):
        np.save(home.synthetic("wgan-gp") / f"{name}.npy", np.zeros((2, 4, 4), np.uint8))
    write_json(home.audit("wgan-gp") / "audit.json", audit_tree() | {"set_digest": data_digest(home.synthetic("wgan-gp"))})
    return home


def test_the_command_prints_what_the_page_says_first(home: Workspace) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(tiny_tree()))
    result = CliRunner().invoke(commands, ["audit", "--model", "wgan-gp", "--show"])
    assert result.exit_code == 0, result.output
    summary = audit_summary(audit_tree())
    places = [result.output.index(text) for text in (summary.sentence, summary.worst, *summary.steps, "membership by the critic")]
    assert places == sorted(places)
    assert "another set" not in result.output


def test_an_audit_of_another_set_is_called_one(home: Workspace) -> None:
    write_json(home.audit("wgan-gp") / "audit.json", audit_tree())
    assert "another set than the present one" in audit_lines(home, "wgan-gp")[0]


def test_without_an_audit_or_with_a_damaged_one_there_is_one_line(home: Workspace) -> None:
    with pytest.raises(InputError, match="there is no audit yet; run `dvc repro audit@dcgan`"):
        audit_lines(home, "dcgan")
    write_json(home.audit("wgan-gp") / "audit.json", {"verdicts": {"set": "within"}})
    with pytest.raises(InputError, match="damaged or of another version"):
        audit_lines(home, "wgan-gp")
