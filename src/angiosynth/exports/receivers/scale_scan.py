"""Scale a TOF-MRA scan by the intensity rule of this set: percentiles inside the brain become 0 and 1, the rest of the volume 0.

The result is in RAS+ order, axial slices last, as the set's patches are. Needs numpy and nibabel, and card.json next to this file.

    python scale_scan.py scan.nii.gz --brain brain.nii.gz -o scans/head_0000.nii.gz
    python scale_scan.py scan.nii.gz --brain brain.nii.gz -o imagesTr/head_0000.nii.gz --label vessels.nii.gz labelsTr/head.nii.gz
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

nib: Any = nibabel


def scaled(scan: np.ndarray[Any, Any], brain: np.ndarray[Any, Any], rule: dict[str, Any]) -> np.ndarray[Any, Any]:
    """Scale a scan (x, y, z) to [0, 1] inside the brain and 0 outside, float32."""
    inside = brain > 0
    # Rule "patch" first scales by the extremes of the brain. Its second step, a separate range for each patch, does not exist for volumes.
    percentiles = (rule["low"], rule["high"]) if rule["rule"] == "volume" else (0.0, 100.0)
    if not inside.any():
        sys.exit("scale_scan.py: the brain mask is empty")
    low, high = np.percentile(scan[inside], percentiles)
    if not high > low:
        sys.exit(f"scale_scan.py: no contrast inside the brain, percentiles {percentiles} are {low:g} and {high:g}")
    image = np.clip((scan.astype(np.float32) - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0)
    return np.where(inside, image, np.float32(0.0)).astype(np.float32)


def canonical(path: Path, like: Any = None) -> Any:
    """Read a volume in RAS+ order; exits if it does not lie on the grid of `like`."""
    image = nib.as_closest_canonical(nib.load(path))
    if like is not None and (image.shape != like.shape or not np.allclose(image.affine, like.affine, atol=0.01)):
        sys.exit(f"scale_scan.py: {path} does not lie on the scan's grid")
    return image


def save(array: np.ndarray[Any, Any], like: Any, path: Path) -> None:
    """Write an array on the grid of `like` with a new header, because the header of a scan may contain the patient's name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array, like.affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--brain", type=Path, required=True, help="its brain mask, on the same grid")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the scaled scan to write")
    parser.add_argument("--label", type=Path, nargs=2, metavar=("LABEL", "OUTPUT"), help="a vessel label to turn likewise")
    arguments = parser.parse_args()
    rule = json.loads((Path(__file__).parent / "card.json").read_text(encoding="utf-8"))["intensity"]
    scan = canonical(arguments.scan)
    brain = np.asarray(canonical(arguments.brain, scan).dataobj)
    save(scaled(np.asarray(scan.dataobj, np.float32), brain, rule), scan, arguments.output)
    if arguments.label:
        label = np.asarray(canonical(arguments.label[0], scan).dataobj)
        save(((label > 0) & (brain > 0)).astype(np.uint8), scan, arguments.label[1])


if __name__ == "__main__":
    main()
