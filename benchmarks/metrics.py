"""Time the metrics of one patient against installed peers: MONAI, surface-distance, MedPy, SimpleITK, scikit-image.

    python benchmarks/metrics.py [--runs 5] [--shape 384 384 128] [--json]

All sides process the same pair of vessel-like masks in the same process, each with its library's default number of threads; the best of
the runs counts. This project is timed for all metrics of a patient and, for comparison with the peers, for the four that most of them have
(DSC, 95HD, maximum distance, ASSD) and for clDice alone. A peer is timed for those of the four metrics that it has, which the table names,
and scikit-image for the centre lines of clDice. With `--json` the last line is one JSON object.
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
from angiosynth.metrics.distances import MaskPair
from angiosynth.metrics.segmentation import all_metrics, cldice, dsc

SPACING_MM: SpacingMm = (0.52, 0.52, 0.65)
Score = Callable[[Mask, Mask], dict[str, float]]


def vessel_pair(shape: tuple[int, int, int], seed: int = 1) -> tuple[Mask, Mask]:
    """Draw a truth of 60 random walks with slowly changing direction, 1 to 4 voxels thick, and a shifted, cut and noisy prediction."""
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
    distances = MaskPair.of(truth, prediction).distances(SPACING_MM)
    return {"dsc": dsc(truth, prediction), "hd95": distances.hd95, "hd": distances.hd, "assd": distances.assd}


def ours_all(truth: Mask, prediction: Mask) -> dict[str, float]:
    return all_metrics(truth, prediction, SPACING_MM)


def ours_cldice(truth: Mask, prediction: Mask) -> dict[str, float]:
    return {"cldice": cldice(truth, prediction)}


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


def skimage_score() -> Score:
    skeletonize = importlib.import_module("skimage.morphology").skeletonize

    def score(truth: Mask, prediction: Mask) -> dict[str, float]:
        lines = [skeletonize(mask, method="lee") > 0 for mask in (truth, prediction)]
        shares = (lines[1] & truth).sum() / lines[1].sum(), (lines[0] & prediction).sum() / lines[0].sum()
        return {"cldice": float(2 * shares[0] * shares[1] / (shares[0] + shares[1]))}

    return score


PEERS: dict[str, Callable[[], Score]] = {
    "MONAI": monai_score,
    "MONAI, 95HD alone": monai_hd95_score,
    "surface-distance": surface_distance_score,
    "MedPy": medpy_score,
    "SimpleITK": simpleitk_score,
}
CENTRE_LINES = {"scikit-image, clDice": skimage_score}


def best_seconds(score: Score, truth: Mask, prediction: Mask, runs: int) -> tuple[float, dict[str, float]]:
    """Return the smallest wall time of the runs, and the last result."""
    times: list[float] = []
    scores: dict[str, float] = {}
    for _ in range(runs):
        start = time.perf_counter()
        scores = score(truth, prediction)
        times.append(time.perf_counter() - start)
    return min(times), scores


def main() -> None:
    parser = argparse.ArgumentParser(description="time the surface distances against the installed peers")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shape", type=int, nargs=3, default=(384, 384, 128))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    x, y, z = arguments.shape
    truth, prediction = vessel_pair((x, y, z))
    print(f"masks {truth.shape}, {truth.sum():,} and {prediction.sum():,} voxels, spacing {SPACING_MM} mm, best of {arguments.runs} runs")
    every = best_seconds(ours_all, truth, prediction, arguments.runs)[0]
    print(f"{'angiosynth, all':21} {every:8.3f} s")
    seconds: dict[str, float] = {"angiosynth, all": every}
    ratios: dict[str, dict[str, float]] = {}
    missing: list[str] = []
    for name, score, peers in (("angiosynth, four", ours, PEERS), ("angiosynth, clDice", ours_cldice, CENTRE_LINES)):
        ours_s, scores = best_seconds(score, truth, prediction, arguments.runs)
        seconds[name] = ours_s
        ratios[name] = {}
        print(f"{name:21} {ours_s:8.3f} s   1.0x  {_text(scores)}")
        for peer, prepare in peers.items():
            try:
                theirs = prepare()
            except ImportError as error:
                missing.append(peer)
                print(f"{peer:21} not installed ({error.name}), not compared")
                continue
            seconds[peer], result = best_seconds(theirs, truth, prediction, arguments.runs)
            ratios[name][peer] = seconds[peer] / ours_s
            print(f"{peer:21} {seconds[peer]:8.3f} s {seconds[peer] / ours_s:5.1f}x  {_text(result)}")
    fastest = min(ratios["angiosynth, four"].values(), default=None)
    print("no peer is installed: nothing to compare with" if fastest is None else f"the fastest peer takes {fastest:.1f} times as long")
    if arguments.json:
        print(json.dumps({"ratio_to_fastest_peer": fastest, "ratios": ratios, "seconds": seconds, "missing": missing}))


def _text(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in scores.items())


if __name__ == "__main__":
    main()
