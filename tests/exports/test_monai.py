"""The MONAI bundle: configuration, weights, and a package's U-net that it is made of."""

from __future__ import annotations

import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from angiosynth.data.patches import PatchSet
from angiosynth.errors import InputError
from angiosynth.exports import monai
from angiosynth.exports.base import Contents
from angiosynth.exports.writing import write_export
from angiosynth.generators.storage import load_sampler
from angiosynth.release.generator import write_generator
from angiosynth.release.identifiers import Identifiers
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.release.unet import read_unet
from angiosynth.runtime.output import read_json
from angiosynth.segmentation.storage import load_segmenter
from tests.exports.conftest import trained_on
from tests.factories import tiny_patches
from tests.release.conftest import AUDIT, TERMS
from tests.release.test_generator import trained_as


@pytest.fixture
def bundle(contents: Contents, tmp_path: Path) -> Path:
    write_export(monai.EXPORT, contents, tmp_path / "bundle", Identifiers())
    return tmp_path / "bundle"


def test_the_weights_are_those_that_were_trained(bundle: Path, package: Path, segmenter: Path) -> None:
    wanted = load_segmenter(segmenter).unet.state_dict()
    for path in (package / "unet" / "unet.safetensors", bundle / "models" / "model.safetensors"):
        weights = load_file(path)
        assert weights.keys() == wanted.keys()
        assert all(torch.equal(weights[name], wanted[name]) for name in wanted)


def test_nothing_of_patients_goes_along_with_the_weights(package: Path) -> None:
    assert read_json(package / "unet" / "unet.json").keys() == {
        *("width", "dropout", "mean", "deviation", "precision", "intensity", "threshold"),
    }
    assert "| unet/ |" in (package / "README.md").read_text()


def test_the_configuration_is_of_this_unet(bundle: Path, synthetic: PatchSet) -> None:
    inference, metadata = (read_json(bundle / "configs" / f"{name}.json") for name in ("inference", "metadata"))
    mean, deviation = synthetic.mean_deviation()
    assert inference["network_def"].items() >= {"width": 2, "mean": mean, "deviation": deviation}.items()
    scale = next(one for one in inference["preprocessing"]["transforms"] if "low" in one)
    assert (scale["low"], scale["high"]) == (0.5, 99.9)
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["16*n", "16*n"]
    assert "within" in metadata["data_source"]
    threshold = next(one["threshold"] for one in inference["postprocessing"]["transforms"] if "threshold" in one)
    assert not np.float32(0.5) >= np.float32(threshold)
    assert np.nextafter(np.float32(0.5), np.float32(1)) >= np.float32(threshold)


def test_the_program_marks_as_the_network(bundle: Path, segmenter: Path) -> None:
    program = torch.export.load(bundle / "models" / "model.pt2").module()
    trained = load_segmenter(segmenter)
    for shape in ((1, 1, 16, 16), (5, 1, 80, 96)):  # any number of slices, sides of any multiple of 16
        image = torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1
        with torch.no_grad():
            wanted = trained.unet(((image - trained.mean) / trained.deviation).to(memory_format=torch.channels_last)).float().sigmoid()
            torch.testing.assert_close(program(image), wanted)


def test_a_package_without_a_network_makes_no_bundle(contents: Contents, tmp_path: Path) -> None:
    shutil.rmtree(contents.package / "unet")
    with pytest.raises(InputError, match="its sender adds one by `release --with-unet` or `--with-generator`"):
        write_export(monai.EXPORT, contents, tmp_path / "bundle", Identifiers())
    assert not (tmp_path / "bundle").exists()


def test_a_generator_alone_makes_a_bundle(contents: Contents, tmp_path: Path) -> None:
    shutil.rmtree(contents.package / "unet")
    source = trained_as("wgan-gp", tmp_path / "project")
    write_generator(source, contents.package, 16, None)
    write_export(monai.EXPORT, contents, tmp_path / "bundle", Identifiers())
    configs = tmp_path / "bundle" / "configs"
    assert {path.name for path in configs.iterdir()} == {"metadata.json", "generator_metadata.json", "generate.json"}
    assert read_json(configs / "metadata.json") == read_json(configs / "generator_metadata.json")
    page = (tmp_path / "bundle" / "README.md").read_text()
    assert "holds the generator beside the set: **unclear**" in page
    assert "inference.json" not in page
    generate = runpy.run_path(str(tmp_path / "bundle" / "scripts" / "generate.py"))["generate"]
    pairs = np.stack(generate(tmp_path / "bundle" / "models" / "generator.pt2", 5, save_images=False, seed=2))
    image, label = load_sampler(source.folder, source.settings, 16).pairs(5, seed=2)
    np.testing.assert_array_equal(pairs, np.stack([image, label], axis=3))


def test_a_unet_of_another_set_does_not_go_along(audited: Path, synthetic: PatchSet, tmp_path: Path) -> None:
    other = trained_on(tiny_patches(seed=3), tmp_path / "other")
    same_images = trained_on(synthetic, tmp_path / "labels", patches_digest="of other labels")
    for folder in (other, same_images):
        with pytest.raises(InputError, match="was trained on another set"):
            build_package(tmp_path / "p", synthetic, SharedAudit(AUDIT, audited), TERMS, segmenter=folder)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("fault", ["cut", "long", "names", "shape", "nan", "none"])
def test_damaged_weights_are_refused(fault: str, package: Path) -> None:
    path = package / "unet" / "unet.safetensors"
    weights = load_file(path)
    first = next(iter(weights))
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif fault == "long":
        path.write_bytes(path.read_bytes() + bytes(1 << 21))
    elif fault == "none":
        path.unlink()
    else:
        changed = {
            "names": {"x": weights[first].clone()},
            "shape": {first: weights[first][:1]},
            "nan": {first: weights[first] * float("nan")},
        }
        save_file({**weights, **changed[fault]}, path)
    with pytest.raises(InputError, match=r"unet\.safetensors"):
        read_unet(package)


def test_a_rule_by_the_patch_scales_volumes_by_their_extremes(contents: Contents) -> None:
    card = contents.card.model_copy(update={"intensity": contents.card.intensity.model_copy(update={"rule": "patch"})})
    inference = monai.inference_of(replace(contents, card=card), 2, 0.0, 1.0)
    assert inference["preprocessing"]["transforms"][2].items() >= {"low": 0.0, "high": 100.0}.items()
