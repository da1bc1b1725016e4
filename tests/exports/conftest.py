"""A package with a U-net, and its contents as exporters are handed them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from angiosynth.data.patches import PatchSet
from angiosynth.exports.base import Contents
from angiosynth.exports.opening import open_contents
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import UnetSettings
from tests.release.conftest import AUDIT, TERMS
from tests.release.conftest import audited as audited
from tests.release.conftest import synthetic as synthetic


def trained_on(synthetic: PatchSet, folder: Path, **facts: object) -> Path:
    """A folder as of models/unet, its U-net untrained but for a bias that marks about half of a volume."""
    unet = build_unet(2, 0.0, 1)
    assert unet.last.bias is not None
    torch.nn.init.constant_(unet.last.bias, -0.05)
    mean, deviation = synthetic.mean_deviation()
    trained = TrainedUnet(Segmenter(unet, mean, deviation, "float32"), 5, {"val_dsc": 0.5, "val_hd95_mm": 2.0}, [])
    folder.mkdir()
    save_unet(folder, trained, UnetSettings(width=2, steps=5, precision="float32"), {"intensity": synthetic.meta["intensity"], **facts})
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
