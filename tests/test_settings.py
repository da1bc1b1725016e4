"""params.yaml: what is refused, in which words, and what a digest notices."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from angiosynth.errors import InputError
from angiosynth.generators.gan.kinds import DcganSettings, WganGpSettings, WganGpSnSettings
from angiosynth.settings import EvaluationSettings, IntensitySettings, Settings, digest, load_settings
from tests.factories import lab_settings, tiny_settings, tiny_tree

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
    for site in cohort["sites"].values():
        assert {"train", "validation", "test"} <= set(site["split"])
        assert {type(patients) for patients in site["split"].values()} == {int}


def test_the_profiles_that_the_help_names_are_there() -> None:
    assert {path.stem for path in PROFILES} >= {"demo", "full", "paper", "real", "quick"}


def test_params_yaml_is_one_of_the_profiles() -> None:
    assert yaml.safe_load((ROOT / "params.yaml").read_text()) in [yaml.safe_load(path.read_text()) for path in PROFILES]


def test_the_paper_profile_has_the_published_sizes() -> None:
    settings = load_settings(ROOT / "profiles" / "paper.yaml")
    generator = settings.generators["wgan-gp"]
    assert isinstance(generator, WganGpSettings)
    assert (settings.patches.size, generator.width, generator.upsampling) == (96, 96, "transposed")
    assert generator.latent_size == 128
    assert generator.gradient_penalty_weight == 10.0


@pytest.mark.parametrize("profile", ["quick", "real", "paper"])
def test_profiles_for_own_scans_draw_none(profile: str) -> None:
    settings = load_settings(ROOT / "profiles" / f"{profile}.yaml")
    assert settings.phantom.sites == {}
    assert all(site.path.startswith("data/raw/") for site in settings.cohort.sites.values())
    assert settings.cohort.targets == (("site-b",) if profile == "paper" else ())


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("unet", "widht"), 3, "unet.widht"),
        (("generators", "wgan-gp", "learning_rate_critic"), "fast", "generators.wgan-gp.learning_rate_critic"),
        (("generators", "wgan-gp", "steps"), 0, "generators.wgan-gp.steps"),
        (("generators", "dcgan", "gradient_penalty"), "sample", "generators.dcgan.gradient_penalty"),
        (("generators", "wgan-gp", "ema"), 1.0, "generators.wgan-gp.ema"),
        (("generators", "wgan-gp", "width"), 0, "generators.wgan-gp.width"),
        (("generators", "wgan-gp", "kind"), "wgan", "generators.wgan-gp.kind: 'wgan' is no kind; there are dcgan, wgan-gp, wgan-gp-sn"),
        (("generators", "wgan-gp", "kind"), None, "generators.wgan-gp.kind"),
        (("generators", "wgan-gp"), 3, "generators.wgan-gp"),
        (("generators",), {}, "generators"),
        (("generators",), ["wgan-gp"], "generators"),
        (("generator_defaults", "ema"), 1.0, "generator_defaults.ema"),
        (("generator_defaults", "upsampling"), "bilinear", "generator_defaults.upsampling"),
        (("generator_defaults", "depth"), 3, "generator_defaults.depth: no kind of generator has such a setting"),
        (("cohort", "source"), "site-z", "source: site-z is none of the sites; there are site-a, site-b"),
        (("cohort", "sites"), {}, "cohort.sites"),
        (("cohort", "sites", "site-b", "role"), "target", "cohort.sites.site-b.role"),
        (("cohort", "site_a"), "lab/a", "cohort.site_a"),
        (("unet", "learning_rate"), float("nan"), "unet.learning_rate"),
        (("phantom", "sites", "site-a", "spacing_mm"), [0.5, 0.5], "phantom.sites.site-a.spacing_mm"),
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
    assert lab_settings(patches__size=size).patches.size == size


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


@pytest.mark.parametrize("place", ["generators", "cohort.sites"])
@pytest.mark.parametrize("name", ["A", "site_a", "a b", "-a", "a-", "ä", "a/b", "..", "a.b", "a@b", "", "a" * 41, "a\nb", "${key}"])
def test_a_name_that_is_no_folder_stage_and_value_alike_is_refused(tmp_path: Path, place: str, name: str) -> None:
    """It names folders, stages of DVC, runs; neighbours: capitals, underscores, dots, slashes, what DVC and the shell read, length."""
    tree = tiny_tree()
    entries = tree["generators"] if place == "generators" else tree["cohort"]["sites"]
    entries[name] = entries.pop("dcgan" if place == "generators" else "site-b")
    assert "not a name for a" in _fault(tmp_path, yaml.safe_dump(tree))


@pytest.mark.parametrize("name", ["real", "threshold", "scratch", "package"])
def test_a_name_that_stands_beside_generators_in_tables_is_none_of_theirs(tmp_path: Path, name: str) -> None:
    tree = tiny_tree()
    tree["generators"][name] = tree["generators"].pop("dcgan")
    assert f"generators.{name}: not a name for a generator" in _fault(tmp_path, yaml.safe_dump(tree))


def test_names_that_do(tmp_path: Path) -> None:
    tree = tiny_tree()
    for name in ("a", "7t", "wgan-gp-wide", "a" * 40):
        tree["generators"][name] = tree["generators"]["dcgan"]
        tree["cohort"]["sites"][name] = {**tree["cohort"]["sites"]["site-b"], "path": f"lab/{name}"}
    settings = Settings.model_validate(tree)
    assert settings.training_data == ("real", "dcgan", "wgan-gp", "wgan-gp-sn", "a", "7t", "wgan-gp-wide", "a" * 40)
    assert settings.cohort.targets == ("site-b", "a", "7t", "wgan-gp-wide", "a" * 40)


def test_sections_never_change() -> None:
    settings = tiny_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.unet.steps = 9  # type: ignore[misc]


def test_a_generator_has_its_own_values_and_the_shared_ones_of_its_kind() -> None:
    tree = tiny_tree()
    tree["generator_defaults"] |= {"ema": 0.5, "spectral_norm": "both", "gradient_penalty_weight": 3.0}
    tree["generators"]["wide"] = {**tree["generators"]["wgan-gp"], "width": 9, "ema": 0.25}
    generators = Settings.model_validate(tree).generators
    assert isinstance(generators["dcgan"], DcganSettings)
    assert isinstance(generators["wgan-gp-sn"], WganGpSnSettings)
    assert type(generators["wide"]) is type(generators["wgan-gp"]) is WganGpSettings
    values = {name: one.model_dump() for name, one in generators.items()}
    assert {name: one["width"] for name, one in values.items()} == {"dcgan": 4, "wgan-gp": 4, "wgan-gp-sn": 4, "wide": 9}
    assert {name: one["ema"] for name, one in values.items()} == {"dcgan": 0.5, "wgan-gp": 0.5, "wgan-gp-sn": 0.5, "wide": 0.25}
    assert values["wgan-gp-sn"]["spectral_norm"] == "both"
    assert {name for name, one in values.items() if one.get("gradient_penalty_weight") == 3.0} == {"wgan-gp", "wgan-gp-sn", "wide"}


def test_a_generator_that_params_yaml_does_not_have_is_named_with_those_it_has() -> None:
    with pytest.raises(InputError, match=r"wide: no such generator; params\.yaml, section generators, has dcgan, wgan-gp, wgan-gp-sn"):
        tiny_settings().generator("wide")


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, value in tree.items() for leaf in _leaves(value, (*path, key))]


@pytest.mark.parametrize("section", ["phantom", "cohort", "patches", "probe", "synthesis", "unet", "evaluation", "transfer", "sweep"])
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


@pytest.mark.parametrize("name", ["dcgan", "wgan-gp", "wgan-gp-sn"])
def test_a_generators_digest_changes_with_every_field_shared_or_not(name: str) -> None:
    settings = tiny_settings()
    tree = settings.generators[name].model_dump(mode="json")
    others = {digest({**tree, key: "changed"}) for key in tree}
    assert len(others | {digest(settings.generators[name])}) == len(tree) + 1
    shared = tiny_settings(generator_defaults__probes=2).generators[name]
    assert digest(shared) != digest(settings.generators[name])


def test_a_digest_depends_on_content_alone() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(IntensitySettings()) == digest(IntensitySettings(low=0.5, high=99.9))
    assert digest(1, 2) != digest([1, 2], 0)
    assert len(digest(EvaluationSettings())) == 16


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"critic_iterations": [5, 1]}, "critic_iterations: 5 is above 1"),
        ({"critic_iterations": [1.5, 2]}, "critic_iterations: give whole numbers"),
        ({"critic_iterations": [0, 2]}, "sweep.ranges.critic_iterations: 0 is nothing for generators.dcgan"),
        ({"critic_iterations": [1, 2, 3]}, "critic_iterations: give two ends"),
        ({"critic_iterations": 3}, "critic_iterations"),
        ({"learning_rate_critic": [0.0, 0.1]}, "learning_rate_critic: the low end 0.0 is not above 0"),
        ({"learning_rate_critic": [0.1, 1.5]}, "sweep.ranges.learning_rate_critic: 1.5 is nothing for generators.dcgan"),
        ({"learning_rate_critic": [True, 0.5]}, "learning_rate_critic"),
        ({"spectral_norm": []}, "spectral_norm"),
        ({"spectral_norm": ["both", "both"]}, "stands there twice"),
        ({"spectral_norm": ["neither"]}, "spectral_norm: 'neither' is no choice; there are critic, both"),
        ({"depth": [1, 2]}, "depth: nothing of that name is searched; there are critic_iterations"),
        ({"real_target_low": [0.6, 1.3]}, "sweep.ranges.real_target_low: 1.3 is nothing for generators.dcgan"),
    ],
)
def test_a_search_space_is_checked(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    tree = tiny_tree()
    tree["sweep"]["ranges"] = values
    assert words in _fault(tmp_path, yaml.safe_dump(tree))


def test_a_sampler_that_there_is_not_is_refused(tmp_path: Path) -> None:
    assert "sweep.sampler: " in _fault(tmp_path, _changed(("sweep", "sampler"), "grid"))


def _with(*changes: tuple[str, Any]) -> str:
    """The tiny settings on a lab's own scans, with values changed by dotted key."""
    tree = tiny_tree()
    for site in ("site-a", "site-b"):
        tree["cohort"]["sites"][site]["path"] = f"lab/{site[-1]}"
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
        ([("cohort.sites.site-a.split.validation", 0)], "cohort.sites.site-a.split.validation: names no patient"),
        ([("cohort.sites.site-a.split.test", [])], "cohort.sites.site-a.split.test: names no patient"),
        ([("cohort.sites.site-a.split.train", 0)], "cohort.sites.site-a.split.train: names no patient"),
        ([("cohort.sites.site-b.split.train", 0)], "cohort.sites.site-b.split.train: names no patient"),
        ([("cohort.sites.site-b.split.test", 0)], "cohort.sites.site-b.split.test: names no patient"),
        ([("cohort.sites.site-b.path", "lab/a/")], "cohort.sites.site-b.path: is the folder of site-a"),
        ([("transfer.patients", [])], "transfer.patients: "),
        # The phantom's patients and slices, which take minutes to draw.
        (
            [("cohort.sites.site-a.path", "data/phantom/site-a"), ("phantom.sites.site-a.patients", 3)],
            "cohort.sites.site-a.split: 4 patients, but phantom.sites.site-a.patients",
        ),
        (
            [("cohort.sites.site-a.path", "data/phantom/site-a"), ("cohort.sites.site-a.split.held_out", 2)],
            "cohort.sites.site-a.split: 2 held out or voters, but phantom.sites.site-a draws too few",
        ),
        (
            [("cohort.sites.site-a.split.voters", 1)],
            "cohort.sites.site-a.split.voters: vote for nothing without a generator of kind private",
        ),
        (
            [("cohort.sites.site-b.path", "data/phantom/site-b/"), ("patches.size", 96)],
            "phantom.sites.site-b.shape: slices of (80, 80) hold no patch of 96",
        ),
        ([("cohort.sites.site-b.path", "data/phantom/site-c")], "is none of the phantom's sites; phantom.sites has site-a, site-b"),
        ([("cohort.sites.site-b.path", "data/phantom/site-b"), ("phantom.sites", {})], "phantom.sites has none"),
        # More looks than steps.
        ([("unet.validations", 5)], "unet.validations: 5 do not fit into unet.steps 4"),
        ([("transfer.validations", 3)], "transfer.validations: 3 do not fit"),
        ([("sweep.unet_steps", 1)], "unet.validations: 2 do not fit into sweep.unet_steps 1"),
        # Ends in the wrong order, empty lists, nothing to cut.
        ([("cohort.intensity", {"low": 60.0, "high": 40.0})], "cohort.intensity: low 60.0 is not below high 40.0"),
        ([("cohort.intensity", {"low": 50.0, "high": 50.0})], "cohort.intensity: low 50.0 is not below"),
        ([("generators.dcgan.real_target", [1.2, 0.7])], "generators.dcgan.real_target: 1.2 is above 0.7"),
        ([("generators.dcgan.fake_target", [0.5, 0.1])], "generators.dcgan.fake_target: 0.5 is above 0.1"),
        ([("audit.planted", [])], "audit.planted: "),
        ([("patches.on_vessels", 0), ("patches.in_brain", 0)], "patches: on_vessels, on_bright and in_brain are 0"),
        # Numbers that end in a traceback or never.
        ([("generators.dcgan.betas", [0.5, 1.0])], "generators.dcgan.betas.1: "),
        ([("generators.wgan-gp.steps", 10**9)], "generators.wgan-gp.steps: "),
        ([("unet.steps", True)], "unet.steps: is true or false, a number is needed"),
        ([("unet.learning_rate", 0)], "unet.learning_rate: "),
        ([("unet.learning_rate", float("inf"))], "unet.learning_rate: "),
        ([("generators.wgan-gp.gradient_penalty_weight", float("inf"))], "generators.wgan-gp.gradient_penalty_weight: "),
        ([("phantom.sites.site-a.noise", float("nan"))], "phantom.sites.site-a.noise: "),
        ([("generator_defaults.seed", 2**32)], "generator_defaults.seed: "),
        ([("unet.seed", -1)], "unet.seed: "),
        ([("unet.seeds", 10**6)], "unet.seeds: "),
        ([("evaluation.bootstrap", 10**9)], "evaluation.bootstrap: "),
        ([("patches.size", 10**30)], "patches.size"),
        ([("generator_defaults.width", 10**6)], "generator_defaults.width: "),
        ([("synthesis.label_threshold", 1.0)], "synthesis.label_threshold: "),
        ([("generators.dcgan.feature_matching_weight", 0.0)], "generators.dcgan.feature_matching_weight: "),
        # Texts that no path and no line can hold.
        ([("cohort.sites.site-a.path", "lab\x00a")], "cohort.sites.site-a.path: holds a character that cannot be printed"),
        ([("release.creator", "a\nb")], "release.creator: holds a line end or a character that cannot be printed"),
        ([("cohort.sites.site-a.split.test", ["sub-\x1b01"])], "cohort.sites.site-a.split.test"),
    ],
)
def test_what_would_fail_after_hours_is_refused_at_once(tmp_path: Path, changes: list[tuple[str, Any]], words: str) -> None:
    """Neighbours: each part of each split, each kind of look at a training, each end of each range, each kind of odd number and text."""
    assert words in _fault(tmp_path, _with(*changes))


@pytest.mark.parametrize(
    "changes",
    [
        [("cohort.sites", {"site-a": {"path": "lab/a", "split": {"train": 1, "validation": 1, "test": 1}}}), ("phantom.sites", {})],
        [("cohort.source", "site-b")],
        [("cohort.sites.site-b.split.validation", 0)],
        [("generator_defaults.probes", 9)],  # every step is looked at, and none twice
        [("unet.seed", 2**32 - 1)],
        [("cohort.sites.site-a.path", "Müller-Klinik/Köpfe [2]")],
        [("unet.learning_rate", "1e-3")],  # what YAML 1.1 takes for a text
    ],
)
def test_what_can_be_done_is_taken(tmp_path: Path, changes: list[tuple[str, Any]]) -> None:
    (tmp_path / "params.yaml").write_text(_with(*changes))
    load_settings(tmp_path / "params.yaml")


def test_a_key_that_cannot_be_printed_is_still_one_line(tmp_path: Path) -> None:
    assert "unet.a\\nb" in _fault(tmp_path, _with(("unet.a\nb", 1)))


@pytest.mark.parametrize("path", ["", None])
def test_a_site_without_a_folder_is_refused(tmp_path: Path, path: str | None) -> None:
    """DVC puts it into dvc.yaml, where nothing is no path. A site that there is not is left out."""
    assert "cohort.sites.site-b.path: " in _fault(tmp_path, _with(("cohort.sites.site-b.path", path)))


@pytest.mark.parametrize("path", ["lab/a", "./lab/a", "lab//a/", "lab/b/../a"])
def test_one_folder_is_not_two_sites(path: str) -> None:
    with pytest.raises(ValidationError, match=r"cohort\.sites\.site-b\.path: is the folder of site-a"):
        tiny_settings(cohort__sites__site_a__path="lab/a", cohort__sites__site_b__path=path)


@pytest.mark.parametrize("key", ["synthesis__pairs", "audit__compared"])
def test_too_few_for_the_audit_are_refused(key: str) -> None:
    assert tiny_settings(**{key: 12})
    with pytest.raises(ValidationError, match="are too few, the audit asks"):
        tiny_settings(**{key: 11})
