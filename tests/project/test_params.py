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
    assert changes == [("critic_iterations", "2", "4"), ("learning_rate_critic", "0.0005", "0.00005"), ("spectral_norm", "critic", "both")]
    after = params.read_text().splitlines()
    lines = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert [line for line in lines if line[0] == "+"] == [
        "+     critic_iterations: 4",
        "+     learning_rate_critic: 0.00005",
        "+     spectral_norm:   both   # as published",
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
    assert (own.real_target, own.feature_matching_weight, own.steps) == ((0.8, 1.2), 0.002, 1500)
    flow = params.with_name("flow.yaml")
    flow.write_text(
        params.read_text().replace("bootstrap: 2000\n  seed: 1\n", "{bootstrap: 2000}\n").replace("evaluation:\n  {", "evaluation: {")
    )
    assert change_settings(flow, ("evaluation",), {"seed": 3}) == [("seed", "(default)", "3")]
    assert "evaluation: {seed: 3, bootstrap: 2000}\n" in flow.read_text()


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
