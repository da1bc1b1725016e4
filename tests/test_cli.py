"""The command line: what it loads, what it says, how it exits."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from angiosynth import cli
from angiosynth.commands import tools
from angiosynth.commands.options import generator_names
from angiosynth.errors import InputError
from angiosynth.settings import load_settings
from tests.factories import tiny_tree
from tests.pipeline import stages_of

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    "new",
    "demo",
    "repro",
    "phantom",
    "import",
    "cohort",
    "patches",
    "train-generator",
    "synthesize",
    "select-unet",
    "train-unet",
    "evaluate",
    "transfer",
    "worth",
    "audit-references",
    "audit",
    "release",
    "export",
    "pretrain-from",
    "summary",
    "report",
    "profile",
    "sync",
    "doctor",
    "segment",
    "sweep",
    "sweep-worker",
    "sweep-apply",
    "ui",
    "serve",
]


def _exit_code(run: Callable[[], object]) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.app(run=run)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def _call(*words: str) -> Callable[[], object]:
    return lambda: cli.commands(list(words))


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys, angiosynth.cli, angiosynth.settings; "
        "print([name for name in ('torch', 'mlflow', 'optuna', 'matplotlib', 'numpy', 'scipy', 'nibabel') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_the_commands_are_those_of_the_stages() -> None:
    names = {command.name or (command.callback.__name__ if command.callback else "") for command in cli.commands.registered_commands}
    assert names == set(COMMANDS)
    assert {stage.verb for stage in stages_of((ROOT / "dvc.yaml").read_text(), tiny_tree())} <= names


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    done = CliRunner().invoke(cli.commands, [command, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output
    assert len(done.output.splitlines()) > 5


def test_an_input_error_is_one_line_and_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("unet: {stepz: 3}\n")
    assert _exit_code(_call("cohort")) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("angiosynth: params.yaml: ")
    assert captured.out == ""


def test_a_missing_params_yaml_tells_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert _exit_code(_call("phantom", "--params", "mine.yaml")) == 2
    assert "mine.yaml: cannot be read" in (said := capsys.readouterr().err)
    assert "profile demo" in said


def test_an_unknown_model_is_refused_with_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _exit_code(_call("train-generator", "--model", "stylegan")) == 2


def test_a_full_disk_is_one_line_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "models/x.pt")

    assert _exit_code(full) == 2
    assert capsys.readouterr().err == "angiosynth: models/x.pt: No space left on device; free some space, then run again\n"


def test_memory_that_is_not_there_is_one_line_and_two(capsys: pytest.CaptureFixture[str]) -> None:
    def large() -> None:
        raise MemoryError

    assert _exit_code(large) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_is_130_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert _exit_code(interrupted) == 130
    assert capsys.readouterr().err == "angiosynth: stopped; what was finished is kept\n"


def test_an_interrupt_within_a_command_is_130() -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert _exit_code(lambda: app([])) == 130


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.app(run=broken)


def _with_profiles(folder: Path) -> None:
    (folder / "profiles").mkdir()
    (folder / "profiles" / "small.yaml").write_text("# mine\n" + yaml.safe_dump(tiny_tree()))
    (folder / "profiles" / "bad.yaml").write_text("unet: 1\n")


def test_a_profile_becomes_params_yaml_word_for_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _with_profiles(tmp_path)
    tools.profile("small")
    assert Path("params.yaml").read_text() == Path("profiles/small.yaml").read_text()
    assert load_settings(Path("params.yaml")).unet.width == 2


@pytest.mark.parametrize("name", ["huge", "../params", "small.yaml", ""])
def test_an_unknown_profile_names_those_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    _with_profiles(tmp_path)
    with pytest.raises(InputError, match="no such profile; there are bad, small"):
        tools.profile(name)
    assert not Path("params.yaml").exists()


def test_a_bad_profile_leaves_params_yaml_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _with_profiles(tmp_path)
    Path("params.yaml").write_text("mine")
    with pytest.raises(InputError):
        tools.profile("bad")
    assert Path("params.yaml").read_text() == "mine"


# Neighbours: a value, a comment, an added line, an empty file, text that is no YAML, an older profile's text; what was kept before.
@pytest.mark.parametrize("edit", ["value", "comment", "line", "empty", "broken"])
def test_edited_settings_are_left_unless_forced_and_kept_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], edit: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _with_profiles(tmp_path)
    small = Path("profiles/small.yaml").read_text()
    edited = {"value": small.replace("width: 2", "width: 3"), "comment": small.replace("# mine", "# ours"), "line": small + "# more\n"}
    text = {"empty": "", "broken": "a: [", **edited}[edit]
    Path("params.yaml").write_text(text)
    assert _exit_code(_call("profile", "small")) == 2
    assert "profile small --force` replaces them and keeps them as params.yaml.bak" in capsys.readouterr().err
    assert Path("params.yaml").read_text() == text
    for kept in ("params.yaml.bak", "params.yaml.bak-2"):
        Path("params.yaml").write_text(text)
        assert _exit_code(_call("profile", "small", "--force")) == 0
        assert Path("params.yaml").read_text() == small
        assert Path(kept).read_text() == text
        assert f"the settings before are kept as {kept}" in capsys.readouterr().out


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_settings_that_are_a_profiles_give_way_and_the_same_are_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _with_profiles(tmp_path)
    Path("profiles/other.yaml").write_text("# other\n" + yaml.safe_dump(tiny_tree()))
    Path("params.yaml").write_bytes(Path("profiles/other.yaml").read_bytes().replace(b"\n", ends.encode()))
    tools.profile("small")
    assert Path("params.yaml").read_bytes() == Path("profiles/small.yaml").read_bytes()
    same = Path("params.yaml").stat()
    tools.profile("small")  # as `make demo` does in a container with a read-only params.yaml
    assert Path("params.yaml").stat().st_ino == same.st_ino
    assert not list(Path().glob("params.yaml.bak*"))


def test_summary_show_reads_and_writes_nothing_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump(tiny_tree()))
    assert _exit_code(_call("summary", "--show")) == 2
    assert "metrics/evaluation.json: missing or damaged" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [params]


@pytest.mark.parametrize(
    ("words", "there"),
    [
        (("train-generator", "--model", "gan"), "--model gan: there is none such; there are dcgan, wgan-gp, wgan-gp-sn"),
        (("train-generator", "--model", ""), "--model : there is none such; there are dcgan"),
        (("synthesize", "--model", "WGAN-GP"), "--model WGAN-GP: there is none such"),
        (("train-unet", "--data", "threshold"), "--data threshold: there is none such; there are real, dcgan, wgan-gp, wgan-gp-sn"),
        (("worth", "--data", "threshold"), "--data threshold: there is none such; there are real, dcgan, wgan-gp, wgan-gp-sn"),
        (("evaluate", "--data", "scratch"), "--data scratch: there is none such; there are real, threshold, dcgan"),
        (("transfer", "--start", "site-b"), "--start site-b: there is none such; there are scratch, real, package, dcgan"),
        (("audit", "--model", "real"), "--model real: there is none such; there are dcgan"),
        (("release", "x", "--model", "real"), "--model real: there is none such; there are dcgan"),
        (("sweep", "--model", "../dcgan"), "--model ../dcgan: there is none such; there are dcgan"),
        (("phantom", "--site", "site-z"), "--site site-z: there is none such; there are site-a, site-b (phantom.sites)"),
        (("cohort", "--site", "real"), "--site real: there is none such; there are site-a, site-b (params.yaml, cohort.sites)"),
        (("patches", "--site", "site_a"), "--site site_a: there is none such; there are site-a, site-b"),
    ],
)
def test_a_name_that_params_yaml_does_not_have_is_one_line_that_lists_those_it_has(
    words: tuple[str, ...], there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(yaml.safe_dump(tiny_tree()))
    assert _exit_code(_call(*words)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"angiosynth: {there}")
    assert said.count("\n") == 1


def test_the_shell_is_offered_the_names_of_params_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert generator_names("") == []
    tree = tiny_tree()
    tree["generators"]["wide"] = tree["generators"]["dcgan"]
    Path("params.yaml").write_text(yaml.safe_dump(tree))
    assert generator_names("") == ["dcgan", "wgan-gp", "wgan-gp-sn", "wide"]
    assert generator_names("wi") == ["wide"]
