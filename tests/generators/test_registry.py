"""The registry: what a kind is called, what its entry in params.yaml takes, and in which words a wrong one is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from angiosynth.errors import InputError
from angiosynth.generators import registry
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.gan.kinds import DcganSettings, WganGpSettings
from angiosynth.generators.registry import CONTROL, KINDS, family_of, title_of
from angiosynth.settings import Settings, load_settings
from tests.factories import changed, tiny_settings, tiny_tree
from tests.generators import gaussian

KNOWN = ", ".join(KINDS)


def _fault(folder: Path, **values: Any) -> str:
    """What is said of the tiny settings with these values, but for the file and the advice at the end."""
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(changed(tiny_tree(), values)))
    with pytest.raises(InputError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{path}: ").removesuffix("; compare with profiles/demo.yaml")


def _gaussian(**values: Any) -> dict[str, Any]:
    return {"kind": "gaussian", "steps": 4, **values}


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.KINDS, "gaussian", gaussian.KIND)


def test_names_and_titles_tell_kinds_apart() -> None:
    assert [kind.name for kind in KINDS.values()] == list(KINDS)
    assert len({kind.title for kind in KINDS.values()}) == len(KINDS)
    assert {"dcgan": "DCGAN", "wgan-gp": "WGAN-GP", "wgan-gp-sn": "WGAN-GP-SN"}.items() <= {
        name: kind.title for name, kind in KINDS.items()
    }.items()


@pytest.mark.parametrize(
    ("name", "title"), [("dcgan", "DCGAN"), ("wgan-gp-sn", "WGAN-GP-SN"), ("wgan-gp-wide", "wgan-gp-wide"), ("DCGAN", "DCGAN")]
)
def test_a_generator_called_like_its_kind_has_the_kinds_title_and_any_other_its_name(name: str, title: str) -> None:
    assert title_of(name) == title


@pytest.mark.usefixtures("_registered")
def test_a_kind_that_is_registered_can_be_named() -> None:
    settings = Settings.model_validate(changed(tiny_tree(), {"generators__normal": _gaussian(spread=2.0)}))
    generator = settings.generator("normal")
    assert isinstance(generator, gaussian.GaussianSettings)
    assert (generator.spread, generator.steps) == (2.0, 4)
    assert family_of(generator) is gaussian
    assert title_of("gaussian") == "Gaussian"
    assert Settings.model_validate(settings.model_dump()) == settings
    assert Settings.model_validate(settings.model_dump(mode="json")) == settings
    assert settings.model_dump()["generators"]["normal"]["spread"] == 2.0


def test_a_kind_that_is_not_registered_cannot(tmp_path: Path) -> None:
    assert _fault(tmp_path, generators__normal=_gaussian()) == f"generators.normal.kind: 'gaussian' is no kind; there are {KNOWN}"


def test_defaults_stand_in_for_what_an_entry_leaves_out() -> None:
    settings = tiny_settings(generator_defaults__ema=0.25, generators__wgan_gp__ema=0.5, generator_defaults__batch_size=7)
    dcgan, wgan = settings.generator("dcgan"), settings.generator("wgan-gp")
    assert isinstance(dcgan, DcganSettings)
    assert isinstance(wgan, WganGpSettings)
    assert (dcgan.ema, wgan.ema) == (0.25, 0.5)
    assert (dcgan.batch_size, wgan.batch_size) == (4, 4)  # each has its own


@pytest.mark.usefixtures("_registered")
def test_defaults_go_only_to_kinds_that_have_the_setting() -> None:
    values = {
        "generator_defaults__spectral_norm": "both",
        "generator_defaults__spread": 3.0,
        "generator_defaults__minibatch_kernels": 9,
        "generators__normal": _gaussian(),
    }
    tree = changed(tiny_tree(), values)
    del tree["generators"]["dcgan"]["minibatch_kernels"]
    has = {name: generator.model_dump() for name, generator in Settings.model_validate(tree).generators.items()}
    assert {name: values["spectral_norm"] for name, values in has.items() if "spectral_norm" in values} == {"wgan-gp-sn": "both"}
    assert {name: values["spread"] for name, values in has.items() if "spread" in values} == {"normal": 3.0}
    assert {name: values["minibatch_kernels"] for name, values in has.items() if "minibatch_kernels" in values} == {"dcgan": 9}
    assert {name: values["width"] for name, values in has.items()} == dict.fromkeys(has, 4)
    assert "latent_size" not in has["normal"]


@pytest.mark.parametrize("kind", ["gan", "", "DCGAN", None, 3, 1.5, True, ["dcgan"], {"dcgan": 1}])
def test_a_wrong_kind_is_refused_with_those_there_are(tmp_path: Path, kind: Any) -> None:
    """Neighbours: another spelling, nothing, every other type that YAML has."""
    assert _fault(tmp_path, generators__dcgan__kind=kind) == f"generators.dcgan.kind: {kind!r} is no kind; there are {KNOWN}"


def test_a_missing_kind_is_refused(tmp_path: Path) -> None:
    tree = tiny_tree()["generators"] | {"own": {"steps": 3}}
    assert _fault(tmp_path, generators=tree) == f"generators.own.kind: is missing; there are {KNOWN}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("real", "real"),
        ("threshold", "threshold"),
        ("scratch", "scratch"),
        ("package", "package"),
        ("WGAN", "WGAN"),
        ("wgan gp", "wgan gp"),
        ("wgan_gp", "wgan_gp"),
        ("-wgan", "-wgan"),
        ("a/b", "a/b"),
        ("..", ".."),
        ("", ""),
        ("a\nb", "a\\nb"),
        ("\x1b[31m", "\\x1b[31m"),
        ("x" * 41, "x" * 41),
        (True, "True"),
        (None, "None"),
    ],
)
def test_a_name_that_no_folder_and_no_table_can_have_is_refused(tmp_path: Path, name: Any, shown: str) -> None:
    message = _fault(tmp_path, generators={name: tiny_tree()["generators"]["dcgan"]})
    assert message == (
        f"generators.{shown}: not a name for a generator; take lower-case letters, digits and hyphens, at most 40, and none of "
        "package, real, scratch, threshold"
    )


def test_a_number_is_a_name_only_in_quotes(tmp_path: Path) -> None:
    entry = tiny_tree()["generators"]["dcgan"]
    assert _fault(tmp_path, generators={1: entry}) == "generators.1: not a name for a generator but a number; write it in quotes"
    assert list(tiny_settings(generators={"1": entry}).generators) == ["1"]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"generators__dcgan__gradient_penalty": "sample"}, "generators.dcgan.gradient_penalty: Extra inputs are not permitted"),
        ({"generators__wgan_gp__spectral_norm": "both"}, "generators.wgan-gp.spectral_norm: Extra inputs are not permitted"),
        ({"generators__wgan_gp__stesp": 3}, "generators.wgan-gp.stesp: Extra inputs are not permitted"),
        ({"generators__wgan_gp__steps": 0}, "generators.wgan-gp.steps: Input should be greater than 0"),
        ({"generators__wgan_gp__steps": True}, "generators.wgan-gp.steps: is true or false, a number is needed"),
        ({"generators__wgan_gp_sn__spectral_norm": "neither"}, "generators.wgan-gp-sn.spectral_norm: Input should be 'critic' or 'both'"),
        ({"generators__dcgan__betas": [0.5, 1.0]}, "generators.dcgan.betas.1: Input should be less than 1"),
        ({"generators__dcgan__betas": [0.5]}, "generators.dcgan.betas.1: Field required"),
        ({"generators__dcgan__real_target": [1.2, 0.7]}, "generators.dcgan.real_target: 1.2 is above 0.7; give the lower end first"),
        ({"generators__dcgan__fake_target": [0.5, 0.1]}, "generators.dcgan.fake_target: 0.5 is above 0.1; give the lower end first"),
        ({"generators__wide": {"kind": "wgan-gp"}}, "generators.wide.steps: Field required (and 4 more)"),
        ({"generators__wide": 5}, "generators.wide: Input should be a valid dictionary"),
        ({"generators__wide": None}, "generators.wide: Input should be a valid dictionary"),
        ({"generators__wide": [1]}, "generators.wide: Input should be a valid dictionary"),
        ({"generators": {}}, "generators: Dictionary should have at least 1 item after validation, not 0"),
        ({"generators": None}, "generators: Input should be a valid dictionary"),
        ({"generators": ["dcgan"]}, "generators: Input should be a valid dictionary"),
    ],
)
def test_a_wrong_entry_names_its_key(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    """Neighbours: another kind's setting, a misspelt one, wrong values of every sort, in pairs too, whole entries and the section."""
    assert _fault(tmp_path, **values) == words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"width": 0}, "width: Input should be greater than 0"),
        ({"ema": 1.0}, "ema: Input should be less than 1"),
        ({"upsampling": "bilinear"}, "upsampling: Input should be 'resize' or 'transposed'"),
        ({"steps": True}, "steps: is true or false, a number is needed"),
        ({"betas": [0.5, 1.0]}, "betas.1: Input should be less than 1"),  # although each entry has its own
        ({"real_target": [1.2, 0.7]}, "real_target: 1.2 is above 0.7; give the lower end first"),
        ({"spectral_norm": "neither"}, "spectral_norm: Input should be 'critic' or 'both'"),
        ({"nothing": 1}, "nothing: no kind of generator has such a setting"),
        ({"kind": "dcgan"}, "kind: no kind of generator has such a setting"),
        ({"a\nb": 1}, "a\\nb: no kind of generator has such a setting"),
        ({3: 1}, "3: no kind of generator has such a setting"),
        ({None: 1}, "None: no kind of generator has such a setting"),
    ],
)
@pytest.mark.parametrize("alone", [False, True], ids=["all kinds", "wgan-gp alone"])
def test_a_wrong_default_is_named_whether_or_not_some_generator_has_the_setting(
    tmp_path: Path, values: dict[Any, Any], words: str, alone: bool
) -> None:
    tree = tiny_tree()
    generators = {"wgan-gp": tree["generators"]["wgan-gp"]} if alone else tree["generators"]
    message = _fault(tmp_path, generators=generators, generator_defaults=tree["generator_defaults"] | values)
    assert message == f"generator_defaults.{words}"


@pytest.mark.parametrize("value", [None, 3, "width", ["width"]])
def test_defaults_that_are_no_mapping_are_named(tmp_path: Path, value: Any) -> None:
    assert _fault(tmp_path, generator_defaults=value).startswith("generator_defaults: Input should be a valid dictionary")


@pytest.mark.usefixtures("_registered")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"generators__normal": _gaussian(spread=0)}, "generators.normal.spread: Input should be greater than 0"),
        ({"generators__normal": _gaussian(latent_size=3)}, "generators.normal.latent_size: Extra inputs are not permitted"),
        ({"generator_defaults__spread": -1}, "generator_defaults.spread: Input should be greater than 0"),
        ({"generators__normal": _gaussian(kind="gauss")}, f"generators.normal.kind: 'gauss' is no kind; there are {KNOWN}, gaussian"),
    ],
)
def test_another_family_is_refused_in_the_same_words(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    assert _fault(tmp_path, **values) == words


@pytest.mark.parametrize("defaults", [{}, {"width": 7, "upsampling": "transposed", "ema": 0.1, "steps": 9}])
def test_the_control_learns_by_heart_whatever_the_defaults_are(defaults: dict[str, Any]) -> None:
    control = CONTROL({"width": 5} | defaults, 30, 2)
    assert isinstance(control, GeneratorSettings)
    assert (control.steps, control.seed, control.checkpoint_choice) == (30, 2, "last")
    assert control.width == defaults.get("width", 5)
    assert getattr(control, "ema") == 0.9  # noqa: B009
    assert getattr(control, "upsampling") == defaults.get("upsampling", "resize")  # noqa: B009
