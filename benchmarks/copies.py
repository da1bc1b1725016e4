"""How many copies the audit's two searches find when training patches are turned, moved and given other noise.

    python benchmarks/copies.py [--model wgan-gp] [--count 200] [--noise 4]

Run it in a project's folder after `dvc repro`. Training patches, so many of each kind, stand in for synthetic ones: as they lie,
mirrored, moved by pixels, turned by degrees, all with noise of that deviation on the 256 levels. Where a moved patch has nothing to show,
its own pixels stay. Beside them validation patients' patches, none of which is a copy.
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
from angiosynth.project.workspace import Workspace
from angiosynth.settings import load_settings
from angiosynth.stages.audit import load_audited

# mirrored, degrees, pixels along x and y
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


def spoiled(images: ImagePatches, kind: tuple[bool, float, float, float], noise: float, rng: np.random.Generator) -> ImagePatches:
    """Patches (n, x, y) mirrored, turned and moved, with noise."""
    mirrored, *place = kind
    laid = np.ascontiguousarray(images[:, ::-1] if mirrored else images).astype(np.float32)
    found = rotate_and_shift(torch.from_numpy(laid), *place).numpy() + rng.normal(0, noise, laid.shape)
    levels: ImagePatches = np.clip(found, 0, 255).round().astype(np.uint8)
    return levels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="wgan-gp")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--noise", type=float, default=4.0)
    options = parser.parse_args()
    settings, home, rng = load_settings(Path("params.yaml")), Workspace(Path(".")), np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="angiosynth-copies-") as folder:
        split = load_split(home.splits, settings.cohort.source)
        data = AuditData(load_audited(settings, home, options.model, split, Path(folder)))
        chosen, strange = (data.images[name] for name in ("training", "validation"))
        chosen = chosen[np.sort(rng.choice(len(chosen), options.count, replace=False))]
        kinds = {name: spoiled(chosen, kind, options.noise, rng) for name, kind in KINDS.items()}
        kinds["validation patients'"] = strange[np.sort(rng.choice(len(strange), min(1000, len(strange)), replace=False))]
        rows = []
        for name, images in kinds.items():
            searches = data.search_both(images, data.describe(images), len(images), name)
            shares = [f"{(one.ratios < settings.audit.limits.copy_ratio).mean():.1%}" for one in searches]
            rows.append(f"| {name} | {len(images)} | {' | '.join(shares)} |")
    print("\n".join(["| patches | looked at | found in pixels | in features |", "|---|---:|---:|---:|", *rows]))


if __name__ == "__main__":
    main()
