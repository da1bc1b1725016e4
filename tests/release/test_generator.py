"""The generator in a package: which may leave, what of it does, and that it draws as the one that was trained."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.registry import KINDS, family_of
from angiosynth.generators.storage import GENERATOR, generator_digest, load_sampler
from angiosynth.release.generator import UNUSED, TrainedSource, generator_fault, read_generator, write_generator
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.runtime.checkpoint import save_weights
from angiosynth.runtime.output import read_json, write_json
from tests.release.conftest import AUDIT, TERMS

# Values other than the defaults for all that drawing depends on, so that a setting that does not leave is missed.
DRAWN: dict[str, dict[str, Any]] = {
    "dcgan": {"latent_size": 5, "width": 4, "noise": False, "label_range": "binary", "upsampling": "transposed", "sharpen": False},
    "wgan-gp": {"latent_size": 6, "width": 4, "sharpen": False, "precision": "float32"},
    "wgan-gp-sn": {"latent_size": 6, "width": 4, "spectral_norm": "both"},
    "r3gan": {"latent_size": 6, "width": 4, "blocks": 2, "expansion": 2, "group_channels": 8, "label_range": "binary"},
    "flow": {"width": 8, "levels": 2, "packing": 1, "sampling_steps": 3, "sampling_power": 1.0},
    "private-phantom": {"width": 8, "kept": 3, "shape": (40, 48, 16), "spacing_mm": (2.0, 2.0, 2.5), "diseased": 0.0, "vessel_share": 0.9,
                        "bright_share": 0.0, "patches_a_head": 300},
}  # fmt: skip
TRAINING = {"seed": 12_345, "steps": 77}


def trained_as(kind: str, folder: Path, size: int = 16) -> TrainedSource:
    """A folder as of models/generators, its weights those of a training's first step."""
    fields = KINDS[kind].settings.model_fields
    needed = {name: value for name, value in UNUSED.items() if name in fields}
    settings: GeneratorSettings = KINDS[kind].settings.model_validate({"kind": kind, **needed, **TRAINING, **DRAWN[kind]})
    folder.mkdir(parents=True)
    save_weights(folder / f"{GENERATOR}.pt", family_of(settings).blank(settings, size)[GENERATOR])
    return TrainedSource(folder, settings)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_packages_generator_draws_as_the_projects(kind: str, tmp_path: Path) -> None:
    source = trained_as(kind, tmp_path / "generator-of-project")
    write_generator(source, tmp_path, 16, 0.25)
    shipped = read_generator(tmp_path)
    assert shipped is not None
    assert shipped.facts.threshold == 0.25
    wanted = load_sampler(source.folder, source.settings, 16).pairs(9, seed=3)
    for ours, theirs in zip(shipped.sampler.pairs(9, seed=3), wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    facts = read_json(tmp_path / "generator" / "generator.json")
    assert facts.keys() == {"kind", "size", "threshold", "settings"}
    assert facts["settings"].keys().isdisjoint({"seed", "steps", "epsilon", "candidates", "votes"})


def test_a_kind_that_names_no_settings_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = trained_as("wgan-gp", tmp_path / "project")
    monkeypatch.setitem(KINDS, "wgan-gp", replace(KINDS["wgan-gp"], drawn_with=()))
    with pytest.raises(InputError, match=r"names no settings in Kind\.drawn_with"):
        write_generator(source, tmp_path, 16, None)


@pytest.mark.parametrize("fault", ["cut", "long", "names", "shape", "nan", "none", "kind", "settings", "huge", "page"])
def test_damaged_files_are_refused(fault: str, tmp_path: Path) -> None:
    write_generator(trained_as("wgan-gp", tmp_path / "project"), tmp_path, 16, None)
    weights_file, facts_file = (tmp_path / "generator" / f"generator.{ending}" for ending in ("safetensors", "json"))
    weights, facts = load_file(weights_file), read_json(facts_file)
    first = next(name for name in sorted(weights) if weights[name].ndim)
    changed_weights = {
        "names": {"x": weights[first].clone()},
        "shape": {first: weights[first][:1].clone()},
        "nan": {first: weights[first] * float("nan")},
    }
    changed_facts: dict[str, dict[str, Any]] = {
        "kind": {"kind": "gan"},
        "settings": {"settings": {**facts["settings"], "seed": 1}},
        "huge": {"settings": {**facts["settings"], "width": 1024}},
        "page": {"page": 1},
    }
    if fault in changed_weights:
        save_file({**weights, **changed_weights[fault]}, weights_file)
    elif fault in changed_facts:
        write_json(facts_file, {**facts, **changed_facts[fault]})
    elif fault == "none":
        weights_file.unlink()
    else:
        content = weights_file.read_bytes()
        weights_file.write_bytes(content[:100] if fault == "cut" else content + bytes(1 << 21))
    with pytest.raises(InputError, match=r"generator\.(safetensors|json): .*get the package again|generator\.safetensors"):
        read_generator(tmp_path)


def _audit(**verdicts: str) -> dict[str, Any]:
    return {"model": "m", "verdicts": {"set": "within", **verdicts}, "generator_digest": "0123", "settings": {"drawn_labels": False}}


SECURE = {"promise": {"noise_source": "secure"}}


@pytest.mark.parametrize(
    ("audit", "card", "digest", "fault"),
    [
        (_audit(generator="within"), {}, "0123", ""),
        (_audit(generator="within", critic="over"), {}, "0123", ""),
        (_audit(generator="unclear"), {}, "0123", "who holds it is 'unclear'"),
        (_audit(generator="not audited"), {}, "0123", "who holds it is 'not audited'"),
        (_audit(), {}, "0123", "who holds it is 'not audited'"),
        (_audit(set="over", generator="within"), {}, "0123", "on its set is 'over'"),
        (_audit(generator="within"), {}, "4567", "of other weights"),
        ({"model": "m", "verdicts": {"set": "within", "generator": "within"}}, {}, "0123", "of an older version"),
        (_audit(generator="not audited"), SECURE, "0123", ""),
        (_audit(generator="not audited"), {"promise": {"noise_source": "seeded"}}, "0123", "fixed seed"),
        (_audit(set="unclear"), SECURE, "0123", "on its set is 'unclear'"),
        (_audit(), SECURE, "4567", "of other weights"),
        (_audit(generator="within"), {"labels": "generator"}, "0123", ""),
        (_audit(generator="within"), {"labels": "unet"}, "0123", "audit.drawn_labels: true in params.yaml and run `dvc repro audit@m`"),
        ({**_audit(generator="within"), "settings": {"drawn_labels": True}}, {"labels": "unet"}, "0123", ""),
        (_audit(generator="over"), {"labels": "unet"}, "0123", "who holds it is 'over'"),
    ],
)  # fmt: skip
def test_which_generators_may_leave(audit: dict[str, Any], card: dict[str, Any], digest: str, fault: str) -> None:
    said = generator_fault(audit, card, digest)
    assert (fault in said) if fault else said == ""


def test_the_page_says_what_was_audited(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    source = trained_as("wgan-gp", tmp_path / "project")
    facts = {**AUDIT, "verdicts": {"set": "within", "generator": "within"}}
    build_package(tmp_path / "p", synthetic, SharedAudit(facts, audited), TERMS, drawn_by=source)
    page = " ".join((tmp_path / "p" / "README.md").read_text().split())
    assert "| generator/ |" in page
    assert "its verdict on generator and set together: **within**" in page
    assert "The labels that it draws" not in page
    synthetic.meta["labels"] = "unet"
    build_package(tmp_path / "o", synthetic, SharedAudit(facts, audited), TERMS, drawn_by=source)
    assert "The labels that it draws are its own" in (tmp_path / "o" / "README.md").read_text()
    promise = {
        "patients": 40,
        "epsilon": 1.0,
        "delta": 1e-5,
        "unit": "one patient",
        "rounds": 5,
        "mechanism": "noise",
        "noise_deviation": 1.0,
    }
    promise |= {"noise_multiplier": 1.0, "votes": 4, "accountant": "one", "not_private": ["x"]}
    synthetic.meta["promise"] = promise
    build_package(tmp_path / "q", synthetic, SharedAudit(facts, audited), TERMS, drawn_by=source)
    assert "The promise covers the generator's file" in (tmp_path / "q" / "README.md").read_text()


def test_the_digest_is_of_the_weights(tmp_path: Path) -> None:
    folder = trained_as("wgan-gp", tmp_path / "project").folder
    first = generator_digest(folder)
    with (folder / "generator.pt").open("ab") as stream:
        stream.write(b"x")
    assert generator_digest(folder) != first
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="run `dvc repro` to train it"):
        generator_digest(folder)
