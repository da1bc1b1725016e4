"""Values written into params.yaml: only they change."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest

from angiosynth.errors import InputError
from angiosynth.generators.gan.kinds import DcganSettings
from angiosynth.project.params import change_settings
from angiosynth.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    target = tmp_path / "params.yaml"
    shutil.copy(ROOT / "profiles" / "demo.yaml", target)
    text = target.read_text()
    target.write_text(text.replace("spectral_norm: critic\n", "spectral_norm:   critic   # as published\n"))
    return target


def test_only_the_values_change(params: Path) -> None:
    before = params.read_text().splitlines()
    values = {"critic_iterations": 4, "learning_rate_critic": 0.00005, "spectral_norm": "both"}
    changes = change_settings(params, ("generators", "wgan-gp-sn"), values)
    assert changes == [("critic_iterations", "2", "4"), ("learning_rate_critic", "0.0007", "0.00005"), ("spectral_norm", "critic", "both")]
    after = params.read_text().splitlines()
    lines = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert [line for line in lines if line[0] == "+"] == [
        "+     critic_iterations: 4",
        "+     learning_rate_critic: 0.00005",
        "+     spectral_norm: both       # as published",  # the comment stays in its column
    ]
    assert len(lines) == 6
    own = load_settings(params).generator("wgan-gp-sn")
    assert {name: getattr(own, name) for name in values} == values


def test_a_pair_and_a_key_that_is_not_there(params: Path) -> None:
    lines = [line for line in params.read_text().splitlines() if "feature_matching_weight: 0.01" not in line]
    params.write_text("\n".join(lines) + "\n")
    changes = change_settings(params, ("generators", "dcgan"), {"real_target": [0.8, 1.2], "feature_matching_weight": 0.002})
    assert changes == [("real_target", "[0.7, 1.2]", "[0.8, 1.2]"), ("feature_matching_weight", "(default)", "0.002")]
    own = load_settings(params).generator("dcgan")
    assert isinstance(own, DcganSettings)
    assert (own.real_target, own.feature_matching_weight, own.steps) == ((0.8, 1.2), 0.002, 750)
    flow = params.with_name("flow.yaml")
    flow.write_text(
        params.read_text().replace("bootstrap: 2000\n  seed: 1\n", "{bootstrap: 2000}\n").replace("evaluation:\n  {", "evaluation: {")
    )
    assert change_settings(flow, ("evaluation",), {"seed": 3}) == [("seed", "(default)", "3")]
    assert "evaluation: {seed: 3, bootstrap: 2000}\n" in flow.read_text()


@pytest.mark.parametrize("profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_profile_keeps_every_other_byte(profile: Path, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(profile, path)
    change_settings(path, ("generators", "dcgan"), {"batch_size": 17, "real_target": [0.25, 1.5]})
    before, after = profile.read_bytes().split(b"\n"), path.read_bytes().split(b"\n")
    assert len(before) == len(after)
    changed = [new.strip() for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [b"batch_size: 17", b"real_target: [0.25, 1.5]"]


@pytest.mark.parametrize(
    "kind", ["line ends of Windows", "a mark of the byte order", "no last line end", "odd spaces", "a start", "a long line"]
)
def test_a_file_of_another_layout_keeps_every_other_byte(kind: str, params: Path) -> None:
    text = params.read_text()
    text = {
        "line ends of Windows": text.replace("\n", "\r\n"),
        "a mark of the byte order": f"\ufeff{text}",
        "no last line end": text.rstrip(),
        "odd spaces": text.replace("split: {train: 8, ", "split:   {train:  8,   ").replace("\n\ncohort:", "   \n\n\n# x  \ncohort:  # y"),
        "a start": f"---\n{text}",
        "a long line": text.replace("diseased: 0.5", f"diseased: 0.5 # {'long ' * 100}end"),
    }[kind]
    params.write_bytes(text.encode())
    change_settings(params, ("generators", "dcgan"), {"batch_size": 17})
    assert params.read_bytes().decode() == text.replace("batch_size: 32", "batch_size: 17", 1)


def test_a_list_in_lines_of_its_own_keeps_them(params: Path) -> None:
    params.write_text(params.read_text().replace("real_target: [0.7, 1.2]", "real_target:\n    - 0.7 # least\n    - 1.2"))
    change_settings(params, ("generators", "dcgan"), {"real_target": (0.8, 1.2)})
    assert "real_target:\n    - 0.8 # least\n    - 1.2\n" in params.read_text()


def test_a_text_that_goes_on_in_the_next_line_is_laid_out_anew(params: Path) -> None:
    text = params.read_text()
    params.write_text(text.replace("creator: unnamed", "creator: a lab\n    of vessels"))
    assert params.read_text() != text
    change_settings(params, ("evaluation",), {"seed": 3})
    assert "creator: a lab of vessels\n" in params.read_text()
    assert load_settings(params).evaluation.seed == 3


def test_a_section_that_others_share_is_not_changed(params: Path) -> None:
    text = params.read_text().replace("  wgan-gp:\n", "  wgan-gp: &shared\n").replace("\nprobe:", "  again: *shared\n\nprobe:", 1)
    params.write_text(text)
    assert "again" in load_settings(params).generators
    for name in ("wgan-gp", "again"):
        with pytest.raises(InputError, match=rf"params\.yaml: generators\.{name}: is shared by an anchor \(&shared\)"):
            change_settings(params, ("generators", name), {"batch_size": 17})
    assert params.read_text() == text


def test_a_value_that_is_merged_from_elsewhere_is_changed_here_alone(params: Path) -> None:
    text = params.read_text().replace("  wgan-gp:\n", "  wgan-gp: &shared\n")
    params.write_text(text.replace("\nprobe:", "  again:\n    <<: *shared\n    steps: 9\n\nprobe:", 1))
    change_settings(params, ("generators", "again"), {"batch_size": 17, "betas": [0.1, 0.2]})
    settings = load_settings(params)
    read = {
        name: (values["batch_size"], values["betas"]) for name in ("again", "wgan-gp") for values in [settings.generator(name).model_dump()]
    }
    assert read == {"again": (17, (0.1, 0.2)), "wgan-gp": (16, (0.0, 0.9))}


def test_a_section_that_is_not_there_is_named(params: Path) -> None:
    with pytest.raises(InputError, match=r"params\.yaml: has no section generators\.mine; write one"):
        change_settings(params, ("generators", "mine"), {"batch_size": 17})


def test_wrong_values_leave_the_file_as_it_was(params: Path) -> None:
    before = params.read_bytes()
    with pytest.raises(InputError, match=r"params\.yaml: left as it was: generators\.dcgan\.critic_iterations: ") as caught:
        change_settings(params, ("generators", "dcgan"), {"critic_iterations": 0})
    assert "partial" not in str(caught.value)
    assert params.read_bytes() == before
    assert [path.name for path in params.parent.iterdir()] == ["params.yaml"]


def test_settings_that_are_kept_elsewhere_are_changed_there(params: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.yaml"
    link.symlink_to(params)
    change_settings(link, ("generators", "wgan-gp-sn"), {"critic_iterations": 7})
    assert link.is_symlink()
    assert getattr(load_settings(params).generator("wgan-gp-sn"), "critic_iterations") == 7  # noqa: B009
