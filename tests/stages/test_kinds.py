"""Generators that nobody wrote a stage for: another one of a known kind, and one that is no GAN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.generators import registry
from angiosynth.generators.storage import load_sampler
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.runtime.output import read_json
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.search.space import search_space, trial_settings
from angiosynth.settings import Settings
from angiosynth.stages import audit as audit_stage
from angiosynth.stages.audit import audit
from angiosynth.stages.cohort import cohort
from angiosynth.stages.patches import patches
from angiosynth.stages.synthesize import synthesize
from angiosynth.stages.train_generator import generator_checkpoints, train_generator
from angiosynth.stages.train_unet import fit_unet
from angiosynth.verbs.release import ReleaseRequest, release
from angiosynth.verbs.sweep import ModelTrial
from tests.factories import changed, make_cohort, tiny_kinds, tiny_tree
from tests.generators import gaussian

LAB = {"cohort__sites__site_a__path": "lab/a", "cohort__sites__site_b__path": "lab/b"}


def _settings(**entries: dict[str, Any]) -> Settings:
    """The tiny settings on a lab's scans with further generators."""
    tree = changed(tiny_tree(), LAB)
    tree["generators"] |= {name.replace("_", "-"): entry for name, entry in entries.items()}
    return Settings.model_validate(tree)


@pytest.fixture
def gaussians(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a generator of a kind that has neither latent space nor critic."""
    monkeypatch.setitem(registry.KINDS, "gaussian", gaussian.KIND)
    return _settings(normal={"kind": "gaussian", "steps": 4, "batch_size": 8, "probes": 3})


def _through(settings: Settings, home: Workspace, name: str) -> dict[str, Any]:
    """Trained, drawn from and audited: audit.json."""
    train_generator(settings, home, name)
    synthesize(settings, home, name)
    fit_unet(settings, home, "real", NullRecorder())
    audit(settings, home, name)
    result: dict[str, Any] = read_json(home.audit(name) / "audit.json")
    return result


@pytest.mark.long
def test_a_generator_that_is_no_gan_goes_through_all_stages(home: Workspace, gaussians: Settings) -> None:
    result = _through(gaussians, home, "normal")
    facts = read_json(home.generator("normal") / "generator.json")
    assert (facts["model"], facts["kind"], [row["step"] for row in facts["probes"]]) == ("normal", "gaussian", [2, 3, 4])
    assert {path.name for path in home.generator("normal").glob("*.pt")} == {"generator.pt"}
    drawn = open_patch_set(home.synthetic("normal"))
    assert (len(drawn), drawn.meta["model"]) == (24, "normal")
    image, label = load_sampler(home.generator("normal"), gaussians.generator("normal"), 16).pairs(24, 1, 0.0)
    np.testing.assert_array_equal(drawn.image, image)
    np.testing.assert_array_equal(drawn.label, label)
    # What needs a latent space or a critic was not tried, and is said not to have been.
    assert {"generator", "critic"}.isdisjoint(result["membership"])
    assert {finding["holder"] for finding in result["findings"]} == {"set"}
    assert result["verdicts"]["set"] in {"too few patients", "over"}  # 2 and 1 patients: the least p is a third
    assert (result["verdicts"]["generator"], result["verdicts"]["critic"]) == ("not audited", "not audited")
    assert set(result["overfitted"]) == {"set", "generator", "critic", "linkage"}  # the control is a GAN for every kind
    assert [one["step"] for one in result["checkpoints"]] == [2, 3, 4]
    page = (home.audit("normal") / "index.html").read_text(encoding="utf-8")
    assert page.count("Not audited: no attack of this audit needs what this holder has. That does not say that none could be made.") == 2
    assert "membership by reconstruction" not in page
    assert "holder of the set" in page
    assert "holder of the generator" not in page
    with pytest.raises(InputError, match="--override"):
        release(gaussians, home, "normal", ReleaseRequest("demo"))
    release(gaussians, home, "normal", ReleaseRequest("demo", "a test"))
    assert read_json(home.releases / "demo" / "card.json")["model"] == "normal"


def test_a_flow_goes_through_all_stages_and_is_attacked_by_the_error_of_its_velocity(home: Workspace) -> None:
    result = _through(_settings(flow=tiny_kinds()["flow"]), home, "flow")
    assert {path.name for path in home.generator("flow").glob("*.pt")} == {"generator.pt", "last.pt"}
    assert "critic" in result["membership"]
    assert "generator" not in result["membership"]
    assert result["verdicts"]["generator"] == "not audited"
    assert result["verdicts"]["critic"] != "not audited"


def test_a_private_phantom_goes_through_all_stages_and_a_fixed_seed_is_never_released(home: Workspace) -> None:
    private = tiny_kinds()["private-phantom"]
    settings = _settings(fixed=private, secret=private | {"noise_source": "secure"})
    result = _through(settings, home, "fixed")
    promise = read_json(home.generator("fixed") / "generator.json")["promise"]
    assert promise["epsilon"] == 1.0
    assert result["promise"] == read_json(home.synthetic("fixed") / "card.json")["promise"] == promise
    for page in ("index.html", "shared/index.html"):
        assert "fixed seed: this set cannot be released" in (home.audit("fixed") / page).read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"fixed seed.*noise_source: secure"):  # no reason overrides this
        release(settings, home, "fixed", ReleaseRequest("demo", "a test"))
    assert not (home.releases / "demo").exists()
    train_generator(settings, home, "secret")
    synthesize(settings, home, "secret")
    audit(settings, home, "secret")
    with pytest.raises(InputError, match="validation patients chose its U-net"):
        release(settings, home, "secret", ReleaseRequest("demo", "a test", with_unet=True))
    release(settings, home, "secret", ReleaseRequest("demo", "a test"))
    card, words = read_json(home.releases / "demo" / "card.json"), (home.releases / "demo" / "README.md").read_text(encoding="utf-8")
    assert (card["promise"]["noise_source"], card["promise"]["patients"]) == ("secure", 2)
    assert card["spacing_mm"] == promise["spacing_mm"] == private["spacing_mm"]  # of the settings, not of the scans
    assert "epsilon 1, delta 1e-05" in words
    assert "Not covered by the promise" in words
    assert "cryptographic source" in (home.releases / "demo" / "audit" / "index.html").read_text(encoding="utf-8")


def test_voters_without_a_label_vote_and_do_nothing_else(home: Workspace) -> None:
    more = make_cohort(home.root / "more", 7, (32, 36, 4), seed=1, labelled=False)
    for name in ("sub-05", "sub-06", "sub-07"):
        (more / name).rename(home.root / "lab" / "a" / name)
    tree = _settings(fixed=tiny_kinds()["private-phantom"]).model_dump(mode="json")
    tree["cohort"]["sites"]["site-a"]["split"] |= {"voters": 2}
    settings, before = Settings.model_validate(tree), data_digest(home.patches("site-a"))
    cohort(settings, home, "site-a")
    patches(settings, home, "site-a")
    split = load_split(home.splits, "site-a")
    assert set(split.voters) | set(split.unlabelled) == {"sub-05", "sub-06", "sub-07"}
    assert data_digest(home.patches("site-a")) == before  # what networks learn from stays as it was
    assert set(open_patch_set(home.voters("site-a")).patient) == {*split.train, *split.voters}
    train_generator(settings, home, "fixed")
    assert read_json(home.generator("fixed") / "generator.json")["promise"]["patients"] == 4
    key = generator_checkpoints(settings, home, "fixed").folder
    index = home.voters("site-a") / "index.csv"
    index.write_bytes(index.read_bytes() + b"\n")
    assert generator_checkpoints(settings, home, "fixed").folder != key  # resume files of other voters are not used


def test_a_sweep_leaves_the_rounds_of_a_private_phantom_as_they_are() -> None:
    settings = trial_settings(_settings(p=tiny_kinds()["private-phantom"]), "p", {"votes": 3})
    tried = settings.generator("p").model_dump()
    assert (tried["steps"], tried["votes"], tried["checkpoint_choice"]) == (4, 3, "last")


def test_a_sweep_searches_what_another_kind_has(home: Workspace, gaussians: Settings, tmp_path: Path) -> None:
    assert list(search_space(gaussians, "normal")) == ["spread"]
    settings = trial_settings(gaussians, "normal", {"spread": 1.23456})
    tried = settings.generator("normal")
    assert isinstance(tried, gaussian.GaussianSettings)
    assert (tried.spread, tried.steps, tried.checkpoint_choice) == (1.235, 2, "last")
    (tmp_path / "scratch").mkdir()
    assert 0 <= ModelTrial("normal")(settings, tmp_path / "scratch", "", 0).dsc <= 1


@pytest.mark.long
def test_another_generator_of_a_known_kind_is_settings_alone(home: Workspace) -> None:
    wgan = tiny_tree()["generators"]["wgan-gp"]
    settings = _settings(wgan_gp_wide={**wgan, "width": 6})
    result = _through(settings, home, "wgan-gp-wide")
    facts = read_json(home.generator("wgan-gp-wide") / "generator.json")
    assert (facts["model"], facts["kind"]) == ("wgan-gp-wide", "wgan-gp")
    train_generator(settings, home, "wgan-gp")
    files = (home.generator(name) / "generator.pt" for name in ("wgan-gp-wide", "wgan-gp"))
    wide, plain = (torch.load(path, weights_only=True)["blocks.0.weight"].shape for path in files)
    assert wide[0] == plain[0]  # latent
    assert wide[1] / plain[1] == 6 / 4
    assert open_patch_set(home.synthetic("wgan-gp-wide")).meta["model"] == "wgan-gp-wide"
    assert "not audited" not in result["verdicts"].values()
    assert {"generator", "critic"} <= set(result["membership"])
    assert not home.generator("dcgan").exists()
    assert "wgan-gp-wide" in (home.audit("wgan-gp-wide") / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("defaults", [{}, {"width": 5}], ids=["no default width", "a default width"])
def test_the_audits_control_is_as_wide_as_the_defaults_say_or_else_as_the_generator(
    home: Workspace, monkeypatch: pytest.MonkeyPatch, defaults: dict[str, int]
) -> None:
    tree = tiny_tree()
    shared = tree["generator_defaults"]
    tree |= {"generator_defaults": defaults, "generators": {"alone": {**shared, **tree["generators"]["dcgan"], "width": 7}}}
    asked: list[Any] = []

    class Asked(Exception):  # noqa: N818 -- no error
        """Nothing further is done."""

    def control(*parts: Any) -> Any:
        asked.append(registry.CONTROL(*parts))
        raise Asked

    settings = Settings.model_validate(changed(tree, LAB))
    train_generator(settings, home, "alone")
    synthesize(settings, home, "alone")
    fit_unet(settings, home, "real", NullRecorder())
    monkeypatch.setattr(audit_stage, "CONTROL", control)
    with pytest.raises(Asked):
        audit(settings, home, "alone")
    assert asked[0].width == defaults.get("width", 7)
    assert not Path(home.audit("alone")).exists()
