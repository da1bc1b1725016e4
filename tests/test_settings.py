"""params.yaml: what is refused, in which words, and what a digest notices."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from angiosynth.errors import InputError
from angiosynth.settings import (
    CohortSettings,
    DcganSettings,
    EvaluationSettings,
    IntensitySettings,
    Settings,
    SplitSettings,
    WganGpSnSettings,
    digest,
    load_settings,
)
from tests.factories import tiny_settings, tiny_tree

ROOT = Path(__file__).resolve().parents[1]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))


def _fault(folder: Path, text: str | bytes) -> str:
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def _changed(path: tuple[str, ...], value: Any) -> str:
    tree = tiny_tree()
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return yaml.safe_dump(tree)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_every_profile_is_sound(profile: Path) -> None:
    assert isinstance(load_settings(profile), Settings)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda path: path.stem)
def test_no_profile_names_patients_that_a_lab_does_not_have(profile: Path) -> None:
    cohort = yaml.safe_load(profile.read_text())["cohort"]
    for split in (cohort["split_a"], cohort["split_b"]):
        assert {part: type(patients) for part, patients in split.items()} == dict.fromkeys(("train", "validation", "test"), int)


def test_the_profiles_that_the_help_names_are_there() -> None:
    assert {path.stem for path in PROFILES} >= {"demo", "full", "paper", "real", "quick"}


def test_params_yaml_is_one_of_the_profiles() -> None:
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) in [yaml.safe_load(path.read_text()) for path in PROFILES]


def test_the_paper_profile_has_the_published_sizes() -> None:
    settings = load_settings(ROOT / "profiles" / "paper.yaml")
    assert (settings.patches.size, settings.gan.common.width, settings.gan.common.upsampling) == (96, 96, "transposed")
    assert settings.gan.wgan_gp.latent_size == 128
    assert settings.gan.wgan_gp.gradient_penalty_weight == 10.0


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("unet", "widht"), 3, "unet.widht"),
        (("gan", "wgan-gp", "learning_rate_critic"), "fast", "gan.wgan-gp.learning_rate_critic"),
        (("gan", "wgan-gp", "steps"), 0, "gan.wgan-gp.steps"),
        (("gan", "dcgan", "gradient_penalty"), "sample", "gan.dcgan.gradient_penalty"),
        (("gan", "common", "ema"), 1.0, "gan.common.ema"),
        (("gan", "common", "upsampling"), "bilinear", "gan.common.upsampling"),
        (("unet", "learning_rate"), float("nan"), "unet.learning_rate"),
        (("phantom", "site_a", "spacing_mm"), [0.5, 0.5], "phantom.site_a.spacing_mm"),
        (("synthesis", "pairs"), 1.5, "synthesis.pairs"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, path: tuple[str, ...], value: Any, named: str) -> None:
    assert f"{named}" in _fault(tmp_path, _changed(path, value))


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    tree = tiny_tree()
    del tree["unet"]["steps"]
    assert "unet.steps: Field required" in _fault(tmp_path, yaml.safe_dump(tree))


def test_further_faults_are_counted(tmp_path: Path) -> None:
    tree = tiny_tree()
    tree["unet"]["steps"] = -1
    tree["unet"]["width"] = -1
    assert "(and 1 more)" in _fault(tmp_path, yaml.safe_dump(tree))


@pytest.mark.parametrize("size", [4, 8, 12, 17, 20, 24, 40, 80, 112, 2048])
def test_a_patch_size_that_fits_no_network_is_refused(tmp_path: Path, size: int) -> None:
    assert f"patches.size {size}" in _fault(tmp_path, _changed(("patches", "size"), size))


@pytest.mark.parametrize("size", [16, 32, 48, 64, 96, 128, 192, 1024])
def test_patch_sizes_that_fit(size: int) -> None:
    assert tiny_settings(patches__size=size).patches.size == size


def test_a_missing_file_names_the_command_that_writes_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.yaml: cannot be read .*profile demo"):
        load_settings(tmp_path / "nowhere.yaml")


def test_bad_yaml_names_its_line(tmp_path: Path) -> None:
    assert "line 2: not valid YAML" in _fault(tmp_path, "phantom:\n  seed: 1: 2\n")


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "42\n"], ids=["empty", "list", "number"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert ": file: " in _fault(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    assert "not UTF-8" in _fault(tmp_path, b"unet: \xff\xfe\x00\n")


@pytest.mark.parametrize(("given", "kept"), [("data/none", ""), ("data/none/", ""), ("", ""), ("data/raw/b", "data/raw/b")])
def test_the_empty_folder_means_no_second_site(given: str, kept: str) -> None:
    split = SplitSettings(train=1, validation=0, test=0)
    assert CohortSettings(site_a="data/raw/a", site_b=given, split_a=split, split_b=split).site_b == kept


def test_sections_never_change() -> None:
    settings = tiny_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.unet.steps = 9  # type: ignore[misc]


def test_a_model_is_found_by_its_name() -> None:
    gan = tiny_settings().gan
    assert isinstance(gan.of("dcgan"), DcganSettings)
    assert isinstance(gan.of("wgan-gp-sn"), WganGpSnSettings)
    assert gan.of("wgan-gp") is gan.wgan_gp


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, value in tree.items() for leaf in _leaves(value, (*path, key))]


@pytest.mark.parametrize(
    "section", ["phantom", "cohort", "patches", "gan", "probe", "synthesis", "unet", "evaluation", "transfer", "sweep"]
)
def test_a_digest_changes_with_every_field(section: str) -> None:
    part = getattr(tiny_settings(), section)
    tree = part.model_dump(mode="json", by_alias=True)
    digests = {digest(tree)}
    paths = _leaves(tree)
    for path in paths:
        other = copy.deepcopy(tree)
        node = other
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = "changed"
        digests.add(digest(other))
    assert len(digests) == len(paths) + 1
    assert digest(part) in digests  # a section and what it dumps are the same


def test_a_digest_depends_on_content_alone() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(IntensitySettings()) == digest(IntensitySettings(low=0.5, high=99.9))
    assert digest(1, 2) != digest([1, 2], 0)
    assert len(digest(EvaluationSettings())) == 16


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"critic_iterations": [5, 1]}, "critic_iterations: 5 is above 1"),
        ({"learning_rate_critic": [0.0, 0.1]}, "learning_rate_critic.0: "),
        ({"spectral_norm": []}, "sweep.spectral_norm: "),
        ({"spectral_norm": ["both", "both"]}, "stands there twice"),
        ({"spectral_norm": ["neither"]}, "spectral_norm.0: "),
        ({"sampler": "grid"}, "sweep.sampler: "),
        ({"real_target_low": [0.6, 1.3]}, "above gan.dcgan.real_target's end 1.2"),
    ],
)
def test_a_search_space_is_checked(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    tree = tiny_tree()
    tree["sweep"] |= values
    assert words in _fault(tmp_path, yaml.safe_dump(tree))


NOT_DRAWN = {"cohort": {"site_a": "lab/a", "site_b": "lab/b"}}


def _with(*changes: tuple[str, Any]) -> str:
    """The tiny settings on a lab's own scans, with values changed by dotted key."""
    tree = tiny_tree()
    tree["cohort"] |= NOT_DRAWN["cohort"]
    for key, value in changes:
        node = tree
        *path, last = key.split(".")
        for name in path:
            node = node[name]
        node[last] = value
    return yaml.safe_dump(tree)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # A split without a part that a stage needs: as a number, as a list, at either site.
        ([("cohort.split_a.validation", 0)], "cohort.split_a.validation: names no patient"),
        ([("cohort.split_a.test", [])], "cohort.split_a.test: names no patient"),
        ([("cohort.split_a.train", 0)], "cohort.split_a.train: names no patient"),
        ([("cohort.split_b.train", 0)], "cohort.split_b.train: names no patient"),
        ([("cohort.split_b.test", 0)], "cohort.split_b.test: names no patient"),
        ([("cohort.site_b", "lab/a/")], "cohort.site_b: is site_a's folder"),
        ([("transfer.patients", [])], "transfer.patients: "),
        # The phantom's patients and slices, which take minutes to draw.
        (
            [("cohort.site_a", "data/phantom/site-a"), ("phantom.site_a.patients", 3)],
            "cohort.split_a: 4 patients, but phantom.site_a.patients",
        ),
        ([("cohort.site_b", "data/phantom/site-b"), ("patches.size", 96)], "phantom.site_b.shape: slices of (80, 80) hold no patch of 96"),
        # More looks than steps.
        ([("unet.validations", 5)], "unet.validations: 5 do not fit into unet.steps 4"),
        ([("transfer.validations", 3)], "transfer.validations: 3 do not fit"),
        ([("sweep.unet_steps", 1)], "unet.validations: 2 do not fit into sweep.unet_steps 1"),
        # Ends in the wrong order, empty lists, nothing to cut.
        ([("cohort.intensity", {"low": 60.0, "high": 40.0})], "cohort.intensity: low 60.0 is not below high 40.0"),
        ([("cohort.intensity", {"low": 50.0, "high": 50.0})], "cohort.intensity: low 50.0 is not below"),
        ([("gan.dcgan.real_target", [1.2, 0.7])], "gan.dcgan.real_target: 1.2 is above 0.7"),
        ([("gan.dcgan.fake_target", [0.5, 0.1]), ("sweep.fake_target_high", [0.6, 0.7])], "gan.dcgan.fake_target: 0.5 is above 0.1"),
        ([("audit.planted", [])], "audit.planted: "),
        ([("patches.on_vessels", 0), ("patches.in_brain", 0)], "patches: on_vessels, on_bright and in_brain are 0"),
        # Numbers that end in a traceback or never.
        ([("gan.dcgan.betas", [0.5, 1.0])], "gan.dcgan.betas.1: "),
        ([("gan.wgan-gp.steps", 10**9)], "gan.wgan-gp.steps: "),
        ([("unet.steps", True)], "unet.steps: is true or false, a number is needed"),
        ([("unet.learning_rate", 0)], "unet.learning_rate: "),
        ([("unet.learning_rate", float("inf"))], "unet.learning_rate: "),
        ([("gan.wgan-gp.gradient_penalty_weight", float("inf"))], "gan.wgan-gp.gradient_penalty_weight: "),
        ([("phantom.site_a.noise", float("nan"))], "phantom.site_a.noise: "),
        ([("gan.common.seed", 2**32)], "gan.common.seed: "),
        ([("unet.seed", -1)], "unet.seed: "),
        ([("unet.seeds", 10**6)], "unet.seeds: "),
        ([("evaluation.bootstrap", 10**9)], "evaluation.bootstrap: "),
        ([("patches.size", 10**30)], "patches.size"),
        ([("gan.common.width", 10**6)], "gan.common.width: "),
        ([("synthesis.label_threshold", 1.0)], "synthesis.label_threshold: "),
        ([("gan.dcgan.feature_matching_weight", 0.0)], "gan.dcgan.feature_matching_weight: "),
        # Texts that no path and no line can hold.
        ([("cohort.site_a", "lab\x00a")], "cohort.site_a: holds a character that cannot be printed"),
        ([("release.creator", "a\nb")], "release.creator: holds a character"),
        ([("cohort.split_a.test", ["sub-\x1b01"])], "cohort.split_a.test"),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(tmp_path: Path, changes: list[tuple[str, Any]], words: str) -> None:
    """Neighbours: each part of each split, each kind of look at a training, each end of each range, each kind of odd number and text."""
    assert words in _fault(tmp_path, _with(*changes))


@pytest.mark.parametrize(
    "changes",
    [
        [("cohort.site_b", "data/none"), ("cohort.split_b", {"train": 0, "validation": 0, "test": 0}), ("transfer.patients", [9])],
        [("cohort.split_b.validation", 0)],
        [("gan.common.probes", 9)],  # every step is looked at, and none twice
        [("unet.seed", 2**32 - 1)],
        [("cohort.site_a", "Müller-Klinik/Köpfe [2]")],
        [("unet.learning_rate", "1e-3")],  # what YAML 1.1 takes for a text
    ],
)
def test_what_can_be_done_is_taken(tmp_path: Path, changes: list[tuple[str, Any]]) -> None:
    (tmp_path / "params.yaml").write_text(_with(*changes))
    load_settings(tmp_path / "params.yaml")


def test_a_key_that_cannot_be_printed_is_still_one_line(tmp_path: Path) -> None:
    assert "unet.a\\nb" in _fault(tmp_path, _with(("unet.a\nb", 1)))


@pytest.mark.parametrize("written", ["''", "null", "absent"])
def test_a_second_site_that_dvc_could_not_read_is_refused(tmp_path: Path, written: str) -> None:
    """DVC puts `cohort.site_b` into dvc.yaml, where nothing is no path."""
    tree = tiny_settings().model_dump(mode="json", by_alias=True)
    tree["cohort"]["site_b"] = {"''": "", "null": None}.get(written)
    if written == "absent":
        del tree["cohort"]["site_b"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError, match="write data/none where there is no second site"):
        load_settings(tmp_path / "params.yaml")


@pytest.mark.parametrize("path", ["data/none", "./data/none", "data//none/", "data/x/../none"])
def test_no_second_site_may_be_spelt_in_any_way_and_is_written_so_that_dvc_reads_it(path: str) -> None:
    settings = tiny_settings(cohort__sites__site_b__path=path, cohort__sites__site_b__split={"train": 0, "validation": 0, "test": 0})
    assert settings.cohort.site_b == ""
    assert settings.model_dump(mode="json")["cohort"]["site_b"] == "data/none"


@pytest.mark.parametrize("path", ["lab/a", "./lab/a", "lab//a/", "lab/b/../a"])
def test_one_folder_is_not_two_sites(path: str) -> None:
    with pytest.raises(ValidationError, match="is site_a's folder"):
        tiny_settings(cohort__sites__site_a__path="lab/a", cohort__sites__site_b__path=path)


@pytest.mark.parametrize("key", ["synthesis__pairs", "audit__compared"])
def test_too_few_for_the_audit_are_refused(key: str) -> None:
    assert tiny_settings(**{key: 12})
    with pytest.raises(ValidationError, match="are too few, the audit asks"):
        tiny_settings(**{key: 11})
