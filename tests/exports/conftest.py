"""A package with a U-net, and its contents as exporters are handed them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from angiosynth.data.patches import PatchSet
from angiosynth.exports import generator, monai
from angiosynth.exports.base import Contents
from angiosynth.exports.opening import open_contents
from angiosynth.exports.programs import write_program
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import UnetSettings
from tests.release.conftest import AUDIT, TERMS
from tests.release.conftest import audited as audited
from tests.release.conftest import synthetic as synthetic

PROGRAMS: dict[tuple[str, tuple[int, ...]], bytes] = {}


def written_once(network: nn.Module, example: Tensor, free: dict[int, Any], path: Path) -> None:
    """`write_program`, whose bytes for the same weights are kept: tracing a U-net takes seconds."""
    weights = hashlib.sha256()
    for name, value in network.state_dict().items():
        weights.update(name.encode() + value.numpy().tobytes())
    key = weights.hexdigest(), tuple(example.shape)
    if key not in PROGRAMS:
        write_program(network, example, free, path)
        PROGRAMS[key] = path.read_bytes()
    path.write_bytes(PROGRAMS[key])


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every network is traced once; undone where a test is about the tracing."""
    for module in (generator, monai):
        monkeypatch.setattr(module, "write_program", written_once)
    return monkeypatch


def trained_on(synthetic: PatchSet, folder: Path, **facts: object) -> Path:
    """A folder as of models/unet, its U-net untrained but for a bias that marks about half of a volume."""
    unet = build_unet(2, 0.0, 1)
    assert unet.last.bias is not None
    torch.nn.init.constant_(unet.last.bias, -0.05)
    mean, deviation = synthetic.mean_deviation()
    trained = TrainedUnet(Segmenter(unet, mean, deviation, "float32"), 5, {"val_dsc": 0.5, "val_hd95_mm": 2.0}, [])
    folder.mkdir()
    facts = {"intensity": synthetic.meta["intensity"], "patches_digest": AUDIT["set_digest"], **facts}
    save_unet(folder, trained, UnetSettings(width=2, steps=5, precision="float32"), facts)
    return folder


@pytest.fixture
def segmenter(synthetic: PatchSet, tmp_path: Path) -> Path:
    return trained_on(synthetic, tmp_path / "unet")


@pytest.fixture
def package(synthetic: PatchSet, audited: Path, segmenter: Path, tmp_path: Path) -> Path:
    target = tmp_path / "out" / "demo-1"
    build_package(target, synthetic, SharedAudit(AUDIT, audited), TERMS, segmenter=segmenter)
    return target


@pytest.fixture
def contents(package: Path, tmp_path: Path) -> Contents:
    return open_contents(package, None, tmp_path / "unpacked")[0]
