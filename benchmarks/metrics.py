"""Surface distances against the peers that are installed: MONAI, surface-distance, MedPy, SimpleITK.

    python benchmarks/metrics.py [--runs 5] [--shape 384 384 128] [--json]

Both sides work on the same pair of vessel-like masks in the same process, each with the libraries' own defaults for threads; the
best of the runs counts. A peer is timed for the same four numbers (DSC, 95HD, maximum, ASSD) where it has them, else for those it
has, named in the table. Without `--json` the table is for people; with it the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from angiosynth.arrays import Mask, SpacingMm
from angiosynth.evaluation.metrics import all_metrics

SPACING_MM: SpacingMm = (0.52, 0.52, 0.65)
Score = Callable[[Mask, Mask], dict[str, float]]


def vessel_pair(shape: tuple[int, int, int], seed: int = 1) -> tuple[Mask, Mask]:
    """Truth: 60 random walks of slowly turning direction, 1 to 4 voxels thick. Prediction: moved, cut off and speckled."""
    rng = np.random.default_rng(seed)
    centres = np.zeros(shape, bool)
    thick = np.zeros(shape, bool)
    for branch in range(60):
        place = np.array(shape) * rng.uniform(0.25, 0.75, 3)
        heading = rng.normal(size=3)
        for _ in range(max(shape)):
            heading += 0.25 * rng.normal(size=3)
            place += heading / np.linalg.norm(heading)
            if np.any(place < 5) or np.any(place >= np.array(shape) - 5):
                break
            (thick if branch < 15 else centres)[tuple(place.astype(int))] = True
    truth: Mask = ndimage.binary_dilation(centres, iterations=1) | ndimage.binary_dilation(thick, iterations=4)
    prediction: Mask = np.roll(truth, 1, axis=0) & (rng.random(shape) < 0.95)
    prediction[:, :, : shape[2] // 4] = False
    prediction |= ndimage.binary_dilation(rng.random(shape) < 5e-6, iterations=2)
    return truth, prediction


def ours(truth: Mask, prediction: Mask) -> dict[str, float]:
    found = all_metrics(truth, prediction, SPACING_MM)
    return {"dsc": found["dsc"], "hd95": found["hd95_mm"], "hd": found["hd_mm"], "assd": found["assd_mm"]}


def monai_score() -> Score:
    import torch

    metrics = importlib.import_module("monai.metrics")

    def score(truth: Mask, prediction: Mask) -> dict[str, float]:
        pair = {"y_pred": torch.from_numpy(prediction)[None, None], "y": torch.from_numpy(truth)[None, None]}
        surfaces: dict[str, Any] = {**pair, "include_background": True, "spacing": SPACING_MM}
        return {
            "dsc": float(metrics.compute_dice(**pair)),
            "hd95": float(metrics.compute_hausdorff_distance(**surfaces, percentile=95)),
            "hd": float(metrics.compute_hausdorff_distance(**surfaces)),
            "assd": float(metrics.compute_average_surface_distance(**surfaces, symmetric=True)),
        }

    return score


def monai_hd95_score() -> Score:
    import torch

    metrics = importlib.import_module("monai.metrics")

    def score(truth: Mask, prediction: Mask) -> dict[str, float]:
        masks = torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None]
        return {"hd95": float(metrics.compute_hausdorff_distance(*masks, include_background=True, spacing=SPACING_MM, percentile=95))}

    return score


def surface_distance_score() -> Score:
    metrics = importlib.import_module("surface_distance")

    def score(truth: Mask, prediction: Mask) -> dict[str, float]:
        distances = metrics.compute_surface_distances(truth, prediction, SPACING_MM)
        means = metrics.compute_average_surface_distance(distances)
        return {
            "dsc": float(metrics.compute_dice_coefficient(truth, prediction)),
            "hd95 (by area)": float(metrics.compute_robust_hausdorff(distances, 95)),
            "hd": float(metrics.compute_robust_hausdorff(distances, 100)),
            "assd (by area)": float(np.mean(means)),
        }

    return score


def medpy_score() -> Score:
    binary = importlib.import_module("medpy.metric.binary")

    def score(truth: Mask, prediction: Mask) -> dict[str, float]:
        return {
            "dsc": float(binary.dc(prediction, truth)),
            "hd95 (pooled)": float(binary.hd95(prediction, truth, SPACING_MM)),
            "hd": float(binary.hd(prediction, truth, SPACING_MM)),
            "assd": float(binary.assd(prediction, truth, SPACING_MM)),
        }

    return score


def simpleitk_score() -> Score:
    sitk = importlib.import_module("SimpleITK")

    def score(truth: Mask, prediction: Mask) -> dict[str, float]:
        images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (truth, prediction)]
        for image in images:
            image.SetSpacing(SPACING_MM[::-1])
        distance = sitk.HausdorffDistanceImageFilter()
        distance.Execute(*images)
        overlap = sitk.LabelOverlapMeasuresImageFilter()
        overlap.Execute(*images)
        return {"dsc": overlap.GetDiceCoefficient(), "hd": distance.GetHausdorffDistance()}

    return score


PEERS: dict[str, Callable[[], Score]] = {
    "MONAI": monai_score,
    "MONAI, 95HD alone": monai_hd95_score,
    "surface-distance": surface_distance_score,
    "MedPy": medpy_score,
    "SimpleITK": simpleitk_score,
}


def best_seconds(score: Score, truth: Mask, prediction: Mask, runs: int) -> tuple[float, dict[str, float]]:
    """Least wall time of the runs, and the last result."""
    times: list[float] = []
    found: dict[str, float] = {}
    for _ in range(runs):
        start = time.perf_counter()
        found = score(truth, prediction)
        times.append(time.perf_counter() - start)
    return min(times), found


def main() -> None:
    parser = argparse.ArgumentParser(description="time the surface distances against the installed peers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=3, default=(384, 384, 128))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    x, y, z = arguments.shape
    truth, prediction = vessel_pair((x, y, z))
    print(f"masks {truth.shape}, {truth.sum():,} and {prediction.sum():,} voxels, spacing {SPACING_MM} mm, best of {arguments.runs} runs")
    own, found = best_seconds(ours, truth, prediction, arguments.runs)
    print(f"{'angiosynth':18} {own:8.3f} s   1.0x  {_text(found)}")
    seconds: dict[str, float] = {}
    missing: list[str] = []
    for name, prepare in PEERS.items():
        try:
            score = prepare()
        except ImportError as error:
            missing.append(name)
            print(f"{name:18} not installed ({error.name}), not compared")
            continue
        seconds[name], result = best_seconds(score, truth, prediction, arguments.runs)
        print(f"{name:18} {seconds[name]:8.3f} s {seconds[name] / own:5.1f}x  {_text(result)}")
    ratios = {name: value / own for name, value in seconds.items()}
    fastest = min(ratios.values(), default=None)
    print("no peer is installed: nothing to compare with" if fastest is None else f"the fastest peer takes {fastest:.1f} times as long")
    if arguments.json:
        line = {"ratio_to_fastest_peer": fastest, "ratios": ratios, "seconds": {"angiosynth": own, **seconds}, "missing": missing}
        print(json.dumps(line))


def _text(found: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in found.items())


if __name__ == "__main__":
    main()
