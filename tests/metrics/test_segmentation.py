"""Distances worked out by hand, by brute force, and by the peers whose results are kept as golden files."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from angiosynth.arrays import Mask, SpacingMm
from angiosynth.errors import InputError
from angiosynth.metrics import segmentation as metrics

GOLDEN = Path(os.environ.get("ANGIOSYNTH_GOLDEN") or Path(__file__).parents[3] / "shared" / "golden")
UNIT: SpacingMm = (1.0, 1.0, 1.0)
SHARES = ("dsc", "precision", "recall", "cldice")
IN_MM = ("hd95_mm", "hd_mm", "assd_mm", "bahd_mm")
IN_VOXELS = tuple(name.replace("_mm", "_voxels") for name in IN_MM)


def block(shape: tuple[int, int, int], *corners: tuple[slice, slice, slice]) -> Mask:
    mask = np.zeros(shape, bool)
    for corner in corners:
        mask[corner] = True
    return mask


def brute_surface(mask: Mask) -> NDArray[np.int64]:
    """The definition, word for word: a voxel of the mask with one of six neighbours outside."""
    padded = np.pad(mask, 1)
    steps = np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
    return np.array([p for p in np.argwhere(padded) if not all(padded[tuple(p + step)] for step in steps)])


def brute_nearest(first: NDArray[np.int64], second: NDArray[np.int64], spacing: SpacingMm) -> tuple[Any, Any]:
    """All pairs of points, n * m distances; the least of each row and of each column."""
    pairs = np.sqrt((((first[:, None] - second[None]) * np.array(spacing)) ** 2).sum(axis=2))
    return pairs.min(axis=1), pairs.min(axis=0)


def brute_force(truth: Mask, prediction: Mask, spacing: SpacingMm) -> dict[str, float]:
    there, back = brute_nearest(brute_surface(truth), brute_surface(prediction), spacing)
    from_all = brute_nearest(np.argwhere(truth), np.argwhere(prediction), spacing)
    return {
        "hd95_mm": max(np.percentile(there, 95), np.percentile(back, 95)),
        "hd_mm": max(there.max(), back.max()),
        "assd_mm": float(np.concatenate([there, back]).mean()),
        "bahd_mm": (from_all[0].sum() + from_all[1].sum()) / np.count_nonzero(truth) / 2,
    }


@st.composite
def mask_pairs(draw: st.DrawFn, least: int = 1) -> tuple[Mask, Mask]:
    shape = draw(st.tuples(*[st.integers(least, 9)] * 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth, prediction = (rng.random(shape) < draw(st.sampled_from([0.02, 0.2, 0.7, 0.97])) for _ in range(2))
    for mask in (truth, prediction):
        mask[tuple(rng.integers(shape))] = True
    return truth, prediction


spacings = st.tuples(*[st.floats(0.1, 5.0)] * 3)


def test_two_voxels_apart() -> None:
    truth = block((10, 10, 10), np.s_[1:2, 1:2, 1:2])
    prediction = block((10, 10, 10), np.s_[4:5, 5:6, 1:2])
    result = metrics.all_metrics(truth, prediction, (1.0, 1.0, 7.0))
    assert result == dict.fromkeys(SHARES, 0.0) | dict.fromkeys((*IN_MM, *IN_VOXELS), 5.0) | {"empty": 0}


def test_line_with_one_stray_voxel() -> None:
    # 21 predicted points: 20 lie on the truth, the stray one 10 voxels of 0.5 mm away. Position 0.95 * 20 = 19 is the last zero.
    truth = block((32, 8, 8), np.s_[0:20, 3:4, 3:4])
    prediction = truth | block((32, 8, 8), np.s_[29:30, 3:4, 3:4])
    assert metrics.hd95_mm(truth, prediction, (0.5, 1.0, 1.0)) == 0.0
    assert metrics.hd_mm(truth, prediction, (0.5, 1.0, 1.0)) == 5.0
    assert metrics.assd_mm(truth, prediction, (0.5, 1.0, 1.0)) == pytest.approx(5.0 / 41)
    assert metrics.dsc(truth, prediction) == pytest.approx(40 / 41)
    assert metrics.precision(truth, prediction) == pytest.approx(20 / 21)
    assert metrics.recall(truth, prediction) == 1.0
    # The stray voxel is 5 mm away, all others are shared: half of it for each of 20 true voxels; of 21 the other way round.
    assert metrics.bahd_mm(truth, prediction, (0.5, 1.0, 1.0)) == 0.125
    assert metrics.bahd_mm(prediction, truth, (0.5, 1.0, 1.0)) == pytest.approx(5.0 / 42)
    assert metrics.bahd_mm(truth, prediction, metrics.VOXELS) == 0.25


def test_balanced_distance_does_not_reward_a_larger_prediction() -> None:
    # Voxels added beside the truth are a further error. They lower the average over the prediction's own voxels, which grow in
    # number, while the balanced distance rises: the ranking error that Aydin et al. describe.
    truth = block((40, 9, 9), np.s_[0:10, 2:5, 2:5])
    worse = truth | block((40, 9, 9), np.s_[39:40, 2:5, 2:5])
    worst = worse | block((40, 9, 9), np.s_[0:10, 5:6, 2:5])

    def average(prediction: Mask) -> float:
        there, back = brute_nearest(np.argwhere(truth), np.argwhere(prediction), UNIT)
        return float(there.mean() + back.mean()) / 2

    assert average(worst) < average(worse)
    # The nine stray voxels are 30 from the truth, the 30 added ones 1; the truth has 90 voxels.
    assert metrics.bahd_mm(truth, worse, UNIT) == pytest.approx(9 * 30 / 180)
    assert metrics.bahd_mm(truth, worst, UNIT) == pytest.approx((9 * 30 + 30) / 180)


def test_centre_lines_count_not_widths() -> None:
    line = block((24, 9, 9), np.s_[2:22, 4:5, 4:5])
    half = block((24, 9, 9), np.s_[2:12, 4:5, 4:5])
    assert metrics.cldice(line, half) == pytest.approx(2 / 3)  # precision 1, recall 10 of 20
    thick = block((24, 9, 9), np.s_[2:22, 3:6, 3:6])
    assert metrics.dsc(line, thick) == pytest.approx(0.2)
    assert metrics.cldice(line, thick) == 1.0  # each one's centre line lies inside the other
    assert metrics.cldice(line, block((24, 9, 9), np.s_[2:22, 7:9, 7:9])) == 0.0


def test_percentile_is_interpolated_and_the_greater_direction_counts() -> None:
    # 20 predicted points, one of them 4 mm off: position 0.95 * 19 = 18.05, so 5% of the way from 0 to 4.
    truth = block((40, 5, 5), np.s_[0:19, 2:3, 2:3])
    prediction = truth | block((40, 5, 5), np.s_[22:23, 2:3, 2:3])
    assert metrics.hd95_mm(truth, prediction, UNIT) == pytest.approx(0.2)
    assert metrics.hd95_mm(prediction, truth, UNIT) == pytest.approx(0.2)


def test_surface_leaves_out_the_inside_and_the_diagonal_neighbours() -> None:
    # A 5-cube lacking a corner voxel: the voxel inside that corner touches the gap by its own corner only and stays inside.
    cube = block((9, 9, 9), np.s_[2:7, 2:7, 2:7])
    cube[2, 2, 2] = False
    inner = block((9, 9, 9), np.s_[3:4, 3:4, 3:4])
    assert metrics.hd_mm(inner, cube, UNIT) == pytest.approx(math.sqrt(27))  # from the far corner of the cube
    # Directed from the inner voxel: its nearest surface voxel is a face neighbour, 1 mm, not itself.
    assert metrics.assd_mm(inner, cube, UNIT) == pytest.approx(brute_force(inner, cube, UNIT)["assd_mm"])


def test_border_of_the_volume_is_surface() -> None:
    # The truth fills the volume; its inner 2x2x2 voxels are no surface, the prediction's voxel among them is 1 away.
    truth = np.ones((4, 4, 4), bool)
    prediction = block((4, 4, 4), np.s_[1:2, 1:2, 1:2])
    result = metrics.all_metrics(truth, prediction, UNIT)
    assert result["hd_mm"] == pytest.approx(math.sqrt(12))
    assert result["assd_mm"] == pytest.approx(brute_force(truth, prediction, UNIT)["assd_mm"])


@pytest.mark.parametrize("swapped", [False, True])
def test_one_empty_mask_gets_the_diagonal(swapped: bool) -> None:
    pair = [block((10, 20, 30), np.s_[1:2, 1:2, 1:2]), np.zeros((10, 20, 30), bool)]
    truth, prediction = reversed(pair) if swapped else pair
    result = metrics.all_metrics(truth, prediction, (0.3, 0.2, 0.4))
    # 3, 4 and 12 mm make 13 mm; 10, 20 and 30 voxels the root of 1400.
    distances = dict.fromkeys(IN_MM, 13.0) | dict.fromkeys(IN_VOXELS, math.sqrt(1400))
    assert result == pytest.approx(dict.fromkeys(SHARES, 0.0) | distances | {"empty": 1})


def test_two_empty_masks_agree() -> None:
    nothing = np.zeros((4, 5, 6), bool)
    result = metrics.all_metrics(nothing, nothing, UNIT)
    assert result == dict.fromkeys(SHARES, 1.0) | dict.fromkeys((*IN_MM, *IN_VOXELS), 0.0) | {"empty": 0}


@settings(max_examples=60, deadline=None)
@given(mask_pairs(), spacings)
def test_agrees_with_brute_force(pair: tuple[Mask, Mask], spacing: SpacingMm) -> None:
    result = metrics.all_metrics(*pair, spacing)
    for name, value in brute_force(*pair, spacing).items():
        assert result[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), spacings)
def test_symmetric_to_the_last_bit(pair: tuple[Mask, Mask], spacing: SpacingMm) -> None:
    truth, prediction = pair
    there, back = metrics.all_metrics(truth, prediction, spacing), metrics.all_metrics(prediction, truth, spacing)
    symmetric = ("dsc", "cldice", *IN_MM[:3], *IN_VOXELS[:3])
    assert [there[name] for name in symmetric] == [back[name] for name in symmetric]
    assert (there["precision"], there["recall"]) == (back["recall"], back["precision"])
    # The balanced distance is per true voxel: the sums are symmetric, the division is not.
    assert there["bahd_mm"] * truth.sum() == pytest.approx(back["bahd_mm"] * prediction.sum(), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), spacings)
def test_a_mask_is_nowhere_from_itself(pair: tuple[Mask, Mask], spacing: SpacingMm) -> None:
    result = metrics.all_metrics(pair[0], pair[0].copy(), spacing)
    assert result == dict.fromkeys(SHARES, 1.0) | dict.fromkeys((*IN_MM, *IN_VOXELS), 0.0) | {"empty": 0}


@settings(max_examples=40, deadline=None)
@given(mask_pairs(), spacings, st.tuples(*[st.integers(0, 7)] * 3), st.tuples(*[st.integers(0, 7)] * 3))
def test_shift_and_padding_change_no_bit(pair: tuple[Mask, Mask], spacing: SpacingMm, before: Any, after: Any) -> None:
    truth, prediction = (np.pad(mask, list(zip(before, after, strict=True))) for mask in pair)
    assert metrics.all_metrics(truth, prediction, spacing) == metrics.all_metrics(*pair, spacing)


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), spacings, st.floats(0.1, 10.0))
def test_distances_scale_with_the_spacing(pair: tuple[Mask, Mask], spacing: SpacingMm, factor: float) -> None:
    x, y, z = spacing
    scaled = metrics.all_metrics(*pair, (x * factor, y * factor, z * factor))
    for name, value in metrics.all_metrics(*pair, spacing).items():
        assert scaled[name] == pytest.approx(value * (factor if name in IN_MM else 1.0), rel=1e-9)
    cubes = metrics.all_metrics(*pair, (factor, factor, factor))
    assert [cubes[name] for name in IN_MM] == pytest.approx([factor * cubes[name] for name in IN_VOXELS], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(mask_pairs(), spacings, st.permutations([0, 1, 2]))
def test_axis_order_and_memory_layout_do_not_matter(pair: tuple[Mask, Mask], spacing: SpacingMm, order: list[int]) -> None:
    truth, prediction = (np.asfortranarray(mask.transpose(order)) for mask in pair)
    turned = metrics.all_metrics(truth, prediction, tuple(spacing[axis] for axis in order))  # type: ignore[arg-type]
    straight = metrics.all_metrics(*pair, spacing)
    if order != [0, 1, 2]:  # thinning takes the axes in turn, so that centre lines may differ by a voxel
        del turned["cldice"], straight["cldice"]
    assert turned == pytest.approx(straight, rel=1e-12)


def test_single_functions_agree_with_all_metrics() -> None:
    rng = np.random.default_rng(3)
    truth, prediction = rng.random((12, 11, 10)) < 0.2, rng.random((12, 11, 10)) < 0.2
    spacing = (0.5, 0.7, 0.9)
    result = metrics.all_metrics(truth, prediction, spacing)
    for name, in_voxels in zip(IN_MM, IN_VOXELS, strict=True):
        assert getattr(metrics, name)(truth, prediction, spacing) == result[name]
        assert getattr(metrics, name)(truth, prediction, metrics.VOXELS) == result[in_voxels]
    for name in SHARES:
        assert getattr(metrics, name)(truth, prediction) == result[name]


MASK = np.ones((3, 3, 3), bool)


@pytest.mark.parametrize(
    ("truth", "prediction", "spacing", "says"),
    [
        (MASK.astype(np.uint8), MASK, UNIT, "uint8, not booleans"),
        (MASK, MASK.astype(float), UNIT, "prediction.*float64"),
        (MASK.tolist(), MASK, UNIT, "list, not booleans"),
        (MASK[0], MASK[0], UNIT, r"shape is \(3, 3\)"),
        (MASK[:0], MASK[:0], UNIT, "shape is"),
        (MASK, MASK[:2], UNIT, "differ in shape"),
        (MASK, MASK, (1.0, 1.0), "not three positive"),
        (MASK, MASK, (1.0, 0.0, 1.0), "not three positive"),
        (MASK, MASK, (1.0, math.nan, 1.0), "not three positive"),
        (MASK, MASK, (1.0, math.inf, 1.0), "not three positive"),
        (MASK, MASK, "thin", "not three positive"),
    ],
)
def test_bad_input_is_named_in_one_line(truth: Any, prediction: Any, spacing: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        metrics.all_metrics(truth, prediction, spacing)
    assert "\n" not in str(caught.value)


def golden_pairs() -> list[str]:
    path = GOLDEN / "metrics.json"
    return sorted(json.loads(path.read_text())["pairs"]) if path.exists() else []


@pytest.mark.skipif(not golden_pairs(), reason=f"no metrics.json in {GOLDEN}; set ANGIOSYNTH_GOLDEN to the folder of golden masks")
@pytest.mark.parametrize("name", golden_pairs() or ["none"])
def test_agrees_with_monai(name: str) -> None:
    wanted = json.loads((GOLDEN / "metrics.json").read_text())["pairs"][name]
    with np.load(GOLDEN / f"{name}.npz") as pair:
        result = metrics.all_metrics(pair["truth"], pair["prediction"], tuple(wanted["spacing_mm"]))
    for ours, theirs in {"hd95_mm": "monai_hd95", "hd_mm": "monai_hd100", "assd_mm": "monai_assd", "dsc": "dice"}.items():
        assert result[ours] == pytest.approx(wanted[theirs], rel=1e-5, abs=1e-6), ours


def helix(shift: float, turns: float) -> Mask:
    """A tube of about two voxels' radius wound along z, both ends cut off by the volume's border."""
    x, y, z = np.indices((40, 36, 30))
    angle = turns * 2 * np.pi * z / 30
    tube: Mask = np.hypot(x - 20 - 9 * np.cos(angle) - shift, y - 18 - 9 * np.sin(angle)) < 2.2
    return tube


@pytest.mark.parametrize(
    (
        "truth",
        "prediction",
        "spacing",
        "peers",
    ),  # DSC, 95HD, maximum, ASSD as MONAI 1.6.1 gives them, clDice with scikit-image 0.26's lines
    [
        ((0.0, 1.0), (1.0, 1.0), UNIT, (0.7031963467597961, 1.0, 1.0, 0.4000000059604645, 0.94668897920153)),
        (
            (0.0, 1.0),
            (0.0, 1.1),
            (0.5, 0.5, 0.8),
            (0.3468468487262726, 1.5811388492584229, 2.5495097637176514, 0.5918331146240234, 0.41455550437586),
        ),
        (
            (0.0, 2.0),
            (2.0, 1.5),
            (0.3, 0.45, 1.2),
            (0.02777777798473835, 6.237186908721924, 6.901630401611328, 3.0828843116760254, 0.01176470588235),
        ),
    ],
)
def test_small_pairs_agree_with_peers(
    truth: tuple[float, float], prediction: tuple[float, float], spacing: SpacingMm, peers: tuple[float, ...]
) -> None:
    result = metrics.all_metrics(helix(*truth), helix(*prediction), spacing)
    assert [result[name] for name in ("dsc", "hd95_mm", "hd_mm", "assd_mm", "cldice")] == pytest.approx(peers, rel=1e-5)
