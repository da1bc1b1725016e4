"""Resume files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from angiosynth.errors import InputError
from angiosynth.runtime.checkpoint import Checkpoints, code_digest


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = {"step": 3, "weights": {"a": torch.arange(4.0)}, "curve": [{"step": 1, "loss": 0.5}], "best": {}}
    Checkpoints(tmp_path).save(3, state)
    loaded = Checkpoints(tmp_path).load()
    assert loaded is not None
    assert torch.equal(loaded["weights"]["a"], torch.arange(4.0))
    assert {name: loaded[name] for name in ("step", "curve", "best")} == {"step": 3, "curve": [{"step": 1, "loss": 0.5}], "best": {}}


def test_nothing_there_is_none(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path / "nowhere").load() is None


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (2, 9, 10, 100):
        checkpoints.save(step, {"step": step})
    assert _names(tmp_path) == ["step-00000010.ckpt", "step-00000100.ckpt"]
    assert checkpoints.load() == {"step": 100}


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "garbage"])
def test_a_damaged_file_is_named_dropped_and_the_one_before_read(tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})
    checkpoints.save(2, {"step": 2})
    path = tmp_path / "step-00000002.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes({"cut": bytes(content[:-1]), "bit": bytes(content), "empty": b"", "garbage": b"x" * 500}[damage])
    assert checkpoints.load() == {"step": 1}
    assert capsys.readouterr().err == f"{path}: damaged, the checkpoint before it is used\n"
    assert _names(tmp_path) == ["step-00000001.ckpt"]


def test_two_damaged_files_mean_a_fresh_start(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"step": step})
        (tmp_path / f"step-{step:08d}.ckpt").write_bytes(b"")
    assert checkpoints.load() is None
    assert _names(tmp_path) == []


def test_a_failed_save_keeps_the_files_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"step": 1})

    def full(_path: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        checkpoints.save(2, {"step": 2})
    monkeypatch.undo()
    assert _names(tmp_path) == ["step-00000001.ckpt"]
    assert checkpoints.load() == {"step": 1}


def test_a_half_written_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".partial-abcstep-00000009.ckpt").write_bytes(b"half")
    assert Checkpoints(tmp_path).load() is None


def test_clear_removes_the_folder_and_can_be_repeated(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "stage" / "key")
    checkpoints.save(1, {"step": 1})
    checkpoints.clear()
    checkpoints.clear()
    assert _names(tmp_path / "stage") == []


def test_the_code_digest_changes_with_any_file(tmp_path: Path) -> None:
    one, two = tmp_path / "a.py", tmp_path / "b.py"
    one.write_text("x = 1\n")
    two.write_text("y = 1\n")
    before = code_digest([one, two])
    assert before == code_digest([one, two])
    two.write_text("y = 2\n")
    assert before != code_digest([one, two])
    assert len(before) == 16
