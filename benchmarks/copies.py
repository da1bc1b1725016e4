"""Measure how many copies the audit's searches find when training patches are rotated, shifted and noisy.

    python benchmarks/copies.py [--model wgan-gp] [--count 200] [--noise 4]

Run it in a project's folder after `dvc repro`. For each kind of change, `--count` changed training patches replace the synthetic ones:
unchanged, mirrored, shifted by pixels or rotated by degrees, with their labels. All images get noise of standard deviation `--noise` on
the 256 levels. Pixels that a shift leaves empty keep their old values. Patches that are not distinctive are never counted as copies.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from angiosynth.arrays import ImagePatches
from angiosynth.data.split import load_split
from angiosynth.privacy.alignment import rotate_and_shift
from angiosynth.privacy.audited import AuditData
from angiosynth.privacy.copies import SPACES, CopyAudit, Pairs
from angiosynth.project.workspace import Workspace
from angiosynth.settings import load_settings
from angiosynth.stages.audit import load_audited

# Mirrored or not, rotation in degrees, shift in pixels along x and y.
KINDS: dict[str, tuple[bool, float, float, float]] = {
    "as it lies": (False, 0, 0, 0),
    "mirrored": (True, 0, 0, 0),
    "moved by 1 pixel": (False, 0, 1, 1),
    "moved by 2 pixels": (False, 0, 2, 2),
    "turned by 5 degrees": (False, 5, 0, 0),
    "turned by 9 degrees": (False, 9, 0, 0),
    "mirrored and turned by 9": (True, 9, 0, 0),
    "turned by 9, moved by 1": (False, 9, 1, 1),
}


def spoiled(pairs: Pairs, kind: tuple[bool, float, float, float], noise: float, rng: np.random.Generator) -> Pairs:
    """Mirror, rotate and shift pairs, and add noise to the images."""
    mirrored, *pose = kind
    image, label = (
        rotate_and_shift(torch.from_numpy(np.ascontiguousarray(array[:, ::-1] if mirrored else array).astype(np.float32)), *pose).numpy()
        for array in (pairs.image, 255 * pairs.label)
    )
    levels: ImagePatches = np.clip(image + rng.normal(0, noise, image.shape), 0, 255).round().astype(np.uint8)
    return Pairs(levels, (label > 127).astype(np.uint8))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wgan-gp")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--noise", type=float, default=4.0)
    options = parser.parse_args()
    settings, home, rng = load_settings(Path("params.yaml")), Workspace(Path(".")), np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="angiosynth-copies-") as folder:
        split = load_split(home.splits, settings.cohort.source)
        copies = CopyAudit(AuditData(load_audited(settings, home, options.model, split, Path(folder))), settings.audit)
        rows = np.sort(rng.choice(len(copies.training.image), options.count, replace=False))
        print(f"| patches | looked at | {' | '.join(SPACES)} |\n|---|---:|{'---:|' * len(SPACES)}")
        for name, kind in KINDS.items():
            detected = copies.detected(spoiled(copies.training.select(rows), kind, options.noise, rng), name)
            print(f"| {name} | {options.count} | {' | '.join(f'{detected[space]:.1%}' for space in SPACES)} |")


if __name__ == "__main__":
    main()
