"""Compare the time of segmenting a whole volume with the time of its arithmetic.

    python benchmarks/predict.py [--shape 512 512 150] [--widths 16 32] [--slices 4] [--runs 3] [--threads 1] [--json]

`Segmenter.segment` runs on evenly spaced slices of the volume, from image and brain mask to vessel mask. The best of the runs counts, and
seconds are scaled to all slices. "Arithmetic" is the number of the convolutions' multiplications and additions in the U-net's windows,
divided by the rate of 2048x2048 matrix products of this process in the same precision, measured in turns with the segmentation. Each volume
is segmented with a brain mask (an ellipsoid of 0.7 x 0.85 x 0.95 of its sides) and without. Weights and voxels are random, which does not
change the time.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from angiosynth.arrays import Image, Mask
from angiosynth.compute.precision import bfloat16_is_native, device, place
from angiosynth.segmentation.prediction import Segmenter, windows
from angiosynth.segmentation.unet import Unet, build_unet

MATRIX = 2048


def best_in_turns(actions: Sequence[Callable[[], object]], runs: int) -> list[float]:
    """Return the smallest wall time of each action. Actions take turns, so that other programs disturb all equally; one turn warms up."""
    best = [float("inf")] * len(actions)
    for run in range(runs + 1):
        for number, action in enumerate(actions):
            start = time.perf_counter()
            action()
            if run:
                best[number] = min(best[number], time.perf_counter() - start)
    return best


def matrix_product(kind: torch.dtype, where: torch.device) -> Callable[[], object]:
    """Return a function that multiplies two square matrices."""
    first, second = (torch.randn(MATRIX, MATRIX, device=where, dtype=kind) for _ in range(2))
    return lambda: (first @ second)[0, 0].item()  # waits for a GPU


def operations(width: int, sides: tuple[int, int]) -> int:
    """Count the multiplications and additions of the U-net's convolutions for one window."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Unet(width)(torch.zeros(1, 1, *sides))
    return int(counter.get_total_flops())


def volume(shape: tuple[int, int, int], slices: int, masked: bool) -> tuple[Image, Mask]:
    """Draw slices of a volume of noise and of its brain mask, in the memory order of a scan read from a file."""
    kept = np.linspace(0, shape[2] - 1, slices + 2).round().astype(int)[1:-1]
    x, y, z = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), kept, indexing="ij")
    brain: Mask = np.ones(x.shape, bool)
    if masked:
        from_centre = [
            (at - (side - 1) / 2) / (share * side / 2) for at, side, share in zip((x, y, z), shape, (0.7, 0.85, 0.95), strict=True)
        ]
        brain = np.asarray(sum(part**2 for part in from_centre) <= 1)
    image = np.random.default_rng(1).random(brain.shape, np.float32) * 2 - 1
    return np.asfortranarray(image), np.asfortranarray(brain)


def main() -> None:
    parser = argparse.ArgumentParser(description="time whole-volume segmentation against the machine's rate of matrix products")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 150))
    parser.add_argument("--widths", type=int, nargs="+", default=(16, 32))
    parser.add_argument("--slices", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    x, y, z = arguments.shape
    where = device()
    kinds = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if bfloat16_is_native(where) else {})
    print(f"volume {x}x{y}x{z} from {arguments.slices} slices, best of {arguments.runs} runs, {arguments.threads} threads, {where}")
    print(f"{'width':>5} {'precision':>9} {'brain mask':>10} {'seconds':>8} {'arithmetic':>10} {'share':>6} {'work':>5} {'GFLOPS':>7}")
    rows = []
    for width in arguments.widths:
        unet = build_unet(width, 0.0, 1)
        place(unet, where)
        for name, kind in kinds.items():
            multiply = matrix_product(kind, where)
            for masked in (True, False):
                image, brain = volume((x, y, z), arguments.slices, masked)
                segmenter = Segmenter(unet, 0.0, 1.0, name)
                scale = z / arguments.slices
                segment = functools.partial(segmenter.segment, image, brain)
                measured, product = best_in_turns([segment, multiply], arguments.runs)
                seconds, rate = scale * measured, 2 * MATRIX**3 / product
                sides = [window.sides for window in windows(brain)]
                arithmetic = scale * sum(operations(width, pair) for pair in sides) / rate
                seen = sum(pair[0] * pair[1] for pair in sides) / (x * y * arguments.slices)
                row = {"width": width, "precision": name, "masked": masked, "seconds": seconds, "arithmetic_seconds": arithmetic}
                rows.append({**row, "share": arithmetic / seconds, "voxels_seen": seen, "product_rate": rate})
                times = f"{seconds:8.1f} {arithmetic:10.1f} {arithmetic / seconds:6.0%} {seen:5.0%} {rate / 1e9:7.0f}"
                print(f"{width:5} {name:>9} {'yes' if masked else 'no':>10} {times}", flush=True)
    print("share: of the time that is arithmetic; work: voxels in the windows against voxels of the volume")
    if arguments.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
