"""The medigan package: the program draws what the project draws, and holds neither pickle nor path."""

from __future__ import annotations

import io
import runpy
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.exports import medigan
from angiosynth.exports.base import Contents
from angiosynth.exports.opening import open_contents
from angiosynth.exports.writing import write_export
from angiosynth.generators.storage import load_sampler
from angiosynth.release.generator import write_generator
from angiosynth.release.identifiers import Identifiers
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.runtime.output import read_json
from tests.factories import tiny_patches
from tests.release.conftest import AUDIT, TERMS
from tests.release.conftest import audited as audited
from tests.release.test_generator import trained_as

ID = "00000_WGAN-GP_TOF-MRA_BRAIN-VESSELS_PATCH"
THRESHOLD = 0.01


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a project's generator, a package with it, and the package's export: tracing a program takes seconds."""
    folder = tmp_path_factory.mktemp("lab")
    synthetic: PatchSet = tiny_patches()
    synthetic.meta.update({"model": "wgan-gp", "n": 12, "size": 16, "seed": 1, "label_threshold": THRESHOLD, "vessel_fraction": 0.2})
    (folder / "audit").mkdir()
    for name in ("audit.json", "index.html"):
        (folder / "audit" / name).write_text("{}")
    source = trained_as("wgan-gp", folder / "project")
    build_package(folder / "demo-1", synthetic, SharedAudit(AUDIT, folder / "audit"), TERMS, drawn_by=source)
    write_export(medigan.EXPORT, open_contents(folder / "demo-1", None, folder / "set")[0], folder / "export", Identifiers([str(folder)]))
    return folder


@pytest.fixture
def model(lab: Path) -> Path:
    return lab / "export" / "models" / ID / ID


def test_a_seed_gives_the_pairs_of_synthesize(lab: Path, model: Path) -> None:
    source = trained_as("wgan-gp", lab / "again")
    image, label = load_sampler(source.folder, source.settings, 16).pairs(300, seed=5, threshold=THRESHOLD)
    shutil.rmtree(lab / "again")
    generate: Any = runpy.run_path(str(model / "__init__.py"))["generate"]
    pairs = np.stack(generate(str(model / "generator.pt2"), 300, save_images=False, seed=5))
    np.testing.assert_array_equal(pairs[..., 0], image)
    np.testing.assert_array_equal(pairs[..., 1], label)
    assert 0.0 < label.mean() < 1.0
    other = np.stack(generate(model / "generator.pt2", 3, save_images=False))
    assert (other != np.stack(generate(model / "generator.pt2", 3, save_images=False))).any()  # without a seed, others each time


def test_pictures_are_the_pairs(model: Path, tmp_path: Path) -> None:
    generate: Any = runpy.run_path(str(model / "__init__.py"))["generate"]
    pairs = generate(model / "generator.pt2", 2, save_images=False, seed=1)
    assert generate(model / "generator.pt2", 2, tmp_path / "pairs", True, 1) == []
    assert len(list((tmp_path / "pairs").iterdir())) == 4
    for number, pair in enumerate(pairs):
        for channel, (name, scale) in enumerate((("image", 1), ("label", 255))):
            with Image.open(tmp_path / "pairs" / f"{name}-000-00{number}.png") as picture:
                np.testing.assert_array_equal(np.rot90(np.asarray(picture), -1), pair[..., channel] * scale)


def test_the_program_holds_neither_pickle_nor_path(model: Path) -> None:
    with zipfile.ZipFile(io.BytesIO((model / "generator.pt2").read_bytes())) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    assert len(contents) > 5
    for name, content in contents.items():
        assert not content.startswith((b"\x80", b"PK")), name  # of pickles, and of torch's archives around them
        assert b"/src/angiosynth" not in content, name


def test_the_entry_has_what_medigan_asks_for(lab: Path) -> None:
    entries = read_json(lab / "export" / "config" / "global.json")
    execution = entries[ID]["execution"]
    assert (lab / "export" / execution["package_link"] / f"{execution['model_name']}{execution['extension']}").is_file()
    assert (
        execution["generate_method"]["input_latent_vector_size"]
        == read_json(lab / "export" / "models" / ID / ID / "generator.json")["latent"]
    )
    assert set(execution["generate_method"]["args"]["base"]) == {"model_file", "num_samples", "output_path", "save_images"}
    assert entries[ID]["selection"]["privacy_preservation"].endswith("unclear")
    assert "unclear" in (lab / "export" / "README.md").read_text()


def test_a_package_without_a_generator_makes_none(contents: Contents, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no generator, .* its sender adds it by `release --with-generator`"):
        write_export(medigan.EXPORT, contents, tmp_path / "exported", Identifiers())
    assert not (tmp_path / "exported").exists()


def test_a_simulator_makes_no_program(contents: Contents, tmp_path: Path) -> None:
    write_generator(trained_as("private-phantom", tmp_path / "project"), contents.package, 16, None)
    with pytest.raises(InputError, match="Private phantom is a simulator and no network"):
        write_export(medigan.EXPORT, contents, tmp_path / "exported", Identifiers())


def test_a_generator_of_other_patches_is_refused(contents: Contents, tmp_path: Path) -> None:
    write_generator(trained_as("wgan-gp", tmp_path / "project"), contents.package, 16, None)
    larger = replace(contents, card=contents.card.model_copy(update={"size": 32}))
    with pytest.raises(InputError, match="another size"):
        medigan.write(larger, tmp_path / "exported")
