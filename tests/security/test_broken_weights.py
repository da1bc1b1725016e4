"""Models whose weights or facts are no numbers to compute with, and networks whose output is none: refused, and nothing is written.

Neighbours: NaN and both infinities in any tensor, other shapes, types, names, layouts and devices, weights that are finite and overflow,
each fact beside them, for U-nets, generators and critics, in segment and in what draws pairs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from angiosynth.errors import InputError
from angiosynth.generators.gan.models import build_gan
from angiosynth.generators.gan.sampling import GanSampler
from angiosynth.generators.storage import load_critic, load_sampler
from angiosynth.runtime.checkpoint import save_weights
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.storage import load_segmenter, save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import IntensitySettings, UnetSettings
from angiosynth.stages.audit import _chosen
from angiosynth.stages.summary import _baseline
from angiosynth.verbs.segment import segment
from tests.factories import make_arrays, tiny_generator, write_nifti

Weights = dict[str, Any]


def _filled(value: float, place: int) -> Callable[[Weights], object]:
    """One number of the tensor at a place in the dictionary."""

    def spoil(weights: Weights) -> None:
        tensor = list(weights.values())[place]
        tensor.view(-1)[-1] = value

    return spoil


def _changed(change: Callable[[Tensor], Any]) -> Callable[[Weights], object]:
    """Another thing in place of the first tensor."""

    def spoil(weights: Weights) -> None:
        name = next(iter(weights))
        weights[name] = change(weights[name])

    return spoil


SPOILT: dict[str, Callable[[Weights], object]] = {
    **{f"{value} at {place}": _filled(value, place) for value in (math.nan, math.inf, -math.inf) for place in (0, 1, -2)},
    "all NaN": _changed(lambda tensor: torch.full_like(tensor, math.nan)),
    "another shape": _changed(lambda tensor: tensor[:1]),
    "more axes": _changed(lambda tensor: tensor[None]),
    "doubles": _changed(lambda tensor: tensor.double()),
    "halves": _changed(lambda tensor: tensor.half()),
    "whole numbers": _changed(lambda tensor: tensor.to(torch.int32)),
    "complex": _changed(lambda tensor: tensor.to(torch.complex64)),
    "sparse": _changed(lambda tensor: tensor.to_sparse()),
    "without content": _changed(lambda tensor: tensor.to("meta")),
    "a number": _changed(lambda tensor: 3.0),
    "a list": _changed(lambda tensor: tensor.flatten().tolist()),
    "one missing": lambda weights: weights.pop(next(iter(weights))),
    "one more": lambda weights: weights.update(more=torch.zeros(3)),
    "another name": lambda weights: weights.update(more=weights.pop(next(iter(weights)))),
    "none": lambda weights: weights.clear(),
}


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    folder = tmp_path / "unet"
    folder.mkdir()
    trained = TrainedUnet(Segmenter(build_unet(2, 0.0, 3).eval(), -0.5, 0.4, "float32"), 1, {}, [])
    facts = {"intensity": IntensitySettings().model_dump(mode="json")}
    save_unet(folder, trained, UnetSettings(width=2, steps=1, precision="float32"), facts)
    return folder


def _spoil(path: Path, spoil: Callable[[Weights], object]) -> None:
    weights = torch.load(path, weights_only=True)
    spoil(weights)
    save_weights(path, weights)


def _refused(path: Path, load: Callable[[], object]) -> None:
    with pytest.raises(InputError) as caught:
        load()
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_weights_that_are_none_are_refused(unet: Path, spoil: Callable[[Weights], object]) -> None:
    _spoil(unet / "unet.pt", spoil)
    _refused(unet / "unet.pt", lambda: load_segmenter(unet))


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_generators_and_critics_that_are_none_are_refused(tmp_path: Path, spoil: Callable[[Weights], object]) -> None:
    settings = tiny_generator("wgan-gp")
    gan = build_gan(settings, 16)
    for network, name in ((gan.generator, "generator.pt"), (gan.critic, "critic.pt")):
        save_weights(tmp_path / name, network.state_dict())
    for network, name in ((gan.generator, "generator.pt"), (gan.critic, "critic.pt")):
        load = load_sampler if name == "generator.pt" else load_critic
        load(tmp_path, settings, 16)
        weights = {key: value.clone() for key, value in network.state_dict().items()}
        spoil(weights)
        save_weights(tmp_path / name, weights)
        _refused(tmp_path / name, lambda load=load: load(tmp_path, settings, 16))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (key, value)
            for key in ("mean", "deviation")
            for value in ("NaN", "Infinity", "-Infinity", "1e999", "null", '"0"', "1e30", "true")
        ),
        *(("deviation", value) for value in ("0", "0.0", "-0.0", "-0.4", "1e-320")),
        *(("width", value) for value in ("3", "0", "-2", "600", "2.5", "true", "null", "1e999", "9" * 5000)),
        *(("dropout", value) for value in ("1", "-0.1", "NaN")),
        *(("val_dsc", value) for value in ("NaN", "1.5", '"high"', "[]")),
        *(("intensity", value) for value in ("null", "[]", '{"low": 9, "high": 1}', '{"low": NaN, "high": 1}', '{"rule": "other"}')),
        ("precision", '"float16"'),
    ],
)
def test_facts_that_no_training_writes_are_refused(unet: Path, tmp_path: Path, key: str, value: str) -> None:
    facts = {**json.loads((unet / "unet.json").read_text()), key: "VALUE"}
    (unet / "unet.json").write_text(json.dumps(facts).replace('"VALUE"', value))
    scan = write_nifti(tmp_path / "scan.nii", make_arrays((20, 24, 4), 1)[0])
    with pytest.raises(InputError) as caught:
        segment(scan, tmp_path / "out.nii.gz", None, str(unet))
    assert str(caught.value).startswith(str(unet))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nii", "unet"]


@pytest.mark.parametrize("value", [1e30, 3e38])
def test_an_output_that_is_not_finite_is_a_fault_and_nothing_is_written(unet: Path, tmp_path: Path, value: float) -> None:
    _spoil(unet / "unet.pt", lambda weights: [tensor.fill_(value) for tensor in weights.values()])
    scan = write_nifti(tmp_path / "scan.nii", make_arrays((20, 24, 4), 1)[0])
    with pytest.raises(InputError, match=r"unet\.pt: its output is not finite") as caught:
        segment(scan, tmp_path / "out.nii.gz", None, str(unet))
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.nii", "unet"]


def test_one_voxel_without_a_number_is_a_fault() -> None:
    class Once(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nothing = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            y = torch.zeros_like(x)
            y[-1, 0, -1, -1] = math.nan
            return y

    image, brain = np.zeros((20, 20, 3), np.float32), np.ones((20, 20, 3), np.bool_)
    with pytest.raises(InputError, match="not finite"):
        Segmenter(Once(), 0.0, 1.0, "float32").segment(image, brain)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_pairs_that_are_not_finite_are_a_fault(value: float) -> None:
    class Diverged(torch.nn.Module):
        latent_size = 3

        def forward(self, latent: Tensor) -> Tensor:
            pairs = torch.zeros(len(latent), 2, 16, 16)
            pairs[-1, 1, -1, -1] = value
            return pairs

    sampler = GanSampler(Diverged(), tiny_generator("wgan-gp"), torch.device("cpu"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="pairs are not finite"):
        sampler.pairs(2, 1, None)


@pytest.mark.parametrize("text", ["{}", "[]", '{"step": -1}', '{"step": "1"}', '{"step": 1e999}', '{"step": 1, "probes": 3}'])
@pytest.mark.parametrize("more", ["", '{"step": 1, "probes": [{}]}', '{"step": 1, "probes": [{"step": NaN}]}'])
def test_a_generator_that_tells_no_step_is_refused(tmp_path: Path, text: str, more: str) -> None:
    (tmp_path / "generator.json").write_text(more or text if text != '{"step": "1"}' else '{"step": "one"}')
    _refused(tmp_path / "generator.json", lambda: _chosen(tmp_path / "generator.json"))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1.5", "-1.5", "null", '"high"', "[]", "1e999"])
def test_a_threshold_beyond_the_scans_is_refused(tmp_path: Path, value: str) -> None:
    (tmp_path / "threshold.json").write_text(f'{{"threshold": {value}}}')
    _refused(tmp_path / "threshold.json", lambda: _baseline(tmp_path / "threshold.json"))
    (tmp_path / "threshold.json").write_text('{"threshold": 0.25}')
    assert _baseline(tmp_path / "threshold.json") == {"threshold": 0.25}
