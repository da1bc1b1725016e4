"""Resume files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from angiosynth.errors import InputError
from angiosynth.runtime.checkpoint import Checkpoints, exported_through_memory, save_weights


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


FULL_DISK = """
import resource, sys
import torch
from torch import nn
from angiosynth.runtime.checkpoint import exported_through_memory, save_weights
from pathlib import Path

program = torch.export.export(nn.Linear(200, 200), (torch.zeros(1, 200),))
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # what is beyond fails as on a full disk
def fails(write):
    try:
        write()
    except OSError:
        return True
with exported_through_memory():
    assert fails(lambda: torch.export.save(program, "program.pt2"))
assert fails(lambda: save_weights(Path("weights.pt"), {"a": torch.zeros(100_000)}))
print("goes on")
"""


def test_a_full_disk_is_an_error_that_can_be_handled(tmp_path: Path) -> None:
    """torch's own writers end the process (abort), or raise RuntimeError."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", FULL_DISK], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr[-2000:]


def test_what_goes_through_memory_is_what_torch_would_write(tmp_path: Path) -> None:
    weights = {"a": torch.arange(5.0), "b": torch.ones(2, 3)}
    save_weights(tmp_path / "weights.pt", weights)
    read = torch.load(tmp_path / "weights.pt", weights_only=True)
    assert list(read) == ["a", "b"]
    assert all(torch.equal(read[name], value) for name, value in weights.items())
    direct = torch.export.save
    network = nn.Linear(3, 2)
    with exported_through_memory():
        torch.export.save(torch.export.export(network, (torch.zeros(1, 3),)), tmp_path / "program.pt2")
    assert torch.export.save is direct
    some = torch.rand(1, 3)
    assert torch.equal(torch.export.load(tmp_path / "program.pt2").module()(some), network(some))
