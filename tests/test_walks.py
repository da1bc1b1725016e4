"""The walk-throughs of docs/ are current: their commands print what the pages show, apart from numbers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests import walks
from tests.documented import run
from tests.walks import RECEIVER, SENDER, Walk, comparable, steps


def test_pages_show_output_for_their_commands() -> None:
    for page, least in ((SENDER, 9), (RECEIVER, 5)):
        assert len(steps(page)) == page.read_text(encoding="utf-8").count("```sh\n") >= least
        assert [commands for commands, output in steps(page) if not output.strip()] == []


def test_output_is_compared_without_numbers_and_put_into_its_place(tmp_path: Path) -> None:
    assert comparable("DSC 0.125 (0.1 to 0.2), 3:20 min\n") == comparable("DSC 0.5 (0 to 1), 9:59 min\n")
    assert comparable("wgan-gp 0.5 within its limit") == comparable("wgan-gp 0.5 over its limit")
    assert comparable("wgan-gp 0.5 within its limit") != comparable("dcgan 0.5 within its limit")
    assert comparable("4 patients") == comparable("5 patients") != comparable("4 heads")
    assert comparable("[main 0123abc] Scans") == comparable("[master fedcba9] Scans")
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```sh\nls\n```\n\n```text\nold\n```\n\nB\n\n```yaml\na: 1\n```\n\n```sh\npwd\n```\n\n```text\n```\n")
    walks.write(page, ["one\n", "two\n"])
    assert steps(page) == [("ls\n", "one\n"), ("pwd\n", "two\n")]
    assert "# A\n\n```sh\nls\n```\n\n```text\none\n```\n\nB\n\n```yaml" in page.read_text()


@pytest.mark.slow
@pytest.mark.long
def test_audit_release_and_checks_print_what_the_pages_show(reproduced: Path, tmp_path: Path) -> None:
    """The ends that meet, with the pipeline that test_pipeline.py builds."""
    (tmp_path / "project").symlink_to(reproduced)
    run(tmp_path, "ssh-keygen -q -t ed25519 -N '' -C '' -f release-key")
    sender = Walk(SENDER, tmp_path, {"KEY": str(tmp_path / "release-key")})
    receiver = Walk(RECEIVER, tmp_path / "receiver", {})
    receiver.project.mkdir(parents=True)
    shutil.copy(tmp_path / "release-key.pub", receiver.project / "sender.pub")
    try:
        for commands, output in steps(SENDER):
            if " audit " in commands or " release " in commands:
                assert comparable(sender.output(commands)) == comparable(output)
        shutil.copytree(reproduced / "releases" / "vessels-1", receiver.project / "vessels-1")
    finally:
        shutil.rmtree(reproduced / "releases" / "vessels-1", ignore_errors=True)
    for commands, output in steps(RECEIVER)[:2]:  # signature and checksums, card
        assert comparable(receiver.output(commands)) == comparable(output)


@pytest.mark.slow
@pytest.mark.skipif("ANGIOSYNTH_WALKS" not in os.environ, reason="three minutes of a core's time: set ANGIOSYNTH_WALKS")
def test_both_walks_print_what_their_pages_show(tmp_path: Path) -> None:
    sender = walks.walk_of_the_sender(tmp_path / "sender")
    _compare(sender)
    _compare(walks.walk_of_the_receiver(tmp_path / "receiver", sender))


def _compare(walk: Walk) -> None:
    for (commands, shown), printed in zip(steps(walk.page), walk.outputs(), strict=True):
        assert comparable(printed) == comparable(shown), commands
