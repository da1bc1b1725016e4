"""Grid of a NIfTI header, whose sform, qform and voxel size may contradict each other.

A header has up to three descriptions of the grid: the sform (any affine), the qform (a rotation with the lengths of `pixdim`) and `pixdim`
alone. The chosen one determines left and right and all lengths in millimetres. A header with contradictory descriptions is therefore
refused until the user states which one is correct.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import nibabel
import numpy as np

from angiosynth.arrays import Affine, SpacingMm
from angiosynth.errors import InputError

nib: Any = nibabel

GridSource: TypeAlias = Literal["sform", "qform", "pixdim"]

# Relative. Voxel sizes are written with two to seven digits; one percent is above their rounding and below any real difference.
LENGTH_TOLERANCE = 0.01
# Cosine between two axes. Rounding reaches 1e-3; the shear of a registration or of a tilted gantry exceeds 1e-2.
SHEAR_TOLERANCE = 0.01
# Difference between direction cosines of sform and qform, about one degree.
TURN_TOLERANCE = 0.02
# Smaller values are probably metres, larger ones micrometres, whatever unit the header states.
LEAST_SPACING_MM, MOST_SPACING_MM = 0.01, 25.0


@dataclass(frozen=True)
class Grid:
    """Grid of the stored voxels.

    Attributes:
        affine: (4, 4), stored voxel index -> mm.
        source: the description from which it was taken.
        conflict: description of the contradiction in the header; "" if there is none.
    """

    affine: Affine
    source: GridSource
    conflict: str = ""

    @property
    def spacing_mm(self) -> SpacingMm:
        """Voxel sizes along the stored axes in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    @property
    def orientation(self) -> str:
        """Directions of the stored axes, such as "LPS"."""
        return "".join(nib.aff2axcodes(self.affine))


def grid_of(header: Any, path: Path, prefer: GridSource | None = None) -> Grid:
    """Determine the grid of a NIfTI header.

    The sform is used if its code is set, else the qform, else the voxel size alone, as in the NIfTI standard and nibabel.

    Args:
        header: header of nibabel with finite, non-zero voxel sizes; without magic for Analyze 7.5.
        path: the file, for messages.
        prefer: the description to use if they contradict each other; without effect otherwise. "pixdim" uses the lengths of `pixdim` along
            the directions of the sform or, without one, of the qform.

    Raises:
        InputError: the descriptions contradict each other and none is preferred, or the one to use is invalid.
    """
    if not header["magic"].item() and prefer != "pixdim":
        raise InputError(
            f"{path}: is Analyze 7.5, which does not tell left from right; where you know that its x runs to the left, "
            "`import --geometry pixdim` takes it"
        )
    pixdim = np.abs(np.asarray(header["pixdim"][1:4], np.float64))
    forms = _forms(header)
    declared: GridSource = "sform" if "sform" in forms else "qform" if "qform" in forms else "pixdim"
    forms["pixdim"] = _with_lengths(forms, pixdim, header)
    conflict = _conflict(forms, pixdim) or _conflict_of_forms(forms, int(header["sform_code"]) == int(header["qform_code"]))
    if conflict and prefer is None:
        raise InputError(
            f"{path}: the header contradicts itself: {conflict}; mend it, or say by `import --geometry` which holds: sform, qform or pixdim"
        )
    source = prefer if conflict and prefer else declared
    affine = forms.get(source)
    if affine is None:
        raise InputError(f"{path}: has no {source}, which --geometry names ({conflict}); take another")
    if reason := _unusable(affine):
        raise InputError(f"{path}: the affine is {reason} ({source}); mend the header's sform and qform")
    return Grid(affine, source, conflict)


def _forms(header: Any) -> dict[GridSource, Affine | None]:
    """Affines that the header declares; None for a declared qform that is not a rotation."""
    forms: dict[GridSource, Affine | None] = {}
    if int(header["sform_code"]) > 0:
        forms["sform"] = np.asarray(header.get_sform(), np.float64)
    if int(header["qform_code"]) > 0:
        try:
            forms["qform"] = np.asarray(header.get_qform(), np.float64)
        except (ValueError, nib.spatialimages.HeaderDataError):  # a quaternion longer than 1
            forms["qform"] = None
    return forms


def _with_lengths(forms: dict[GridSource, Affine | None], pixdim: np.ndarray[Any, Any], header: Any) -> Affine:
    """Affine with the orthogonalised directions of sform or qform and the lengths of pixdim; nibabel's default without directions."""
    for affine in forms.values():
        if affine is not None and not _singular(affine):
            # polar decomposition: the product of the singular vectors is the orthogonal matrix nearest to the directions
            left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
            scaled = affine.copy()
            scaled[:3, :3] = (left @ right) * pixdim
            return scaled
    return np.asarray(header.get_base_affine(), np.float64)


def _conflict(forms: dict[GridSource, Affine | None], pixdim: np.ndarray[Any, Any]) -> str:
    """Describe how the declared descriptions contradict each other; "" if they agree."""
    sform, qform = forms.get("sform"), forms.get("qform")
    if sform is not None:
        if _singular(sform):
            return "the affine is singular or not a number by its sform"
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if (np.abs(lengths - pixdim) > LENGTH_TOLERANCE * pixdim).any():
            return f"voxels are {_in_mm(lengths)} by its sform and {_in_mm(pixdim)} by its pixdim"
        directions = sform[:3, :3] / lengths
        if np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE:
            return "its sform is sheared, which no scan's grid is"
    return "its qform is no rotation" if "qform" in forms and qform is None else ""


def _conflict_of_forms(forms: dict[GridSource, Affine | None], one_space: bool) -> str:
    """Describe how sform and qform contradict each other. With different codes they refer to different spaces and only axes must agree."""
    sform, qform = forms.get("sform"), forms.get("qform")
    if sform is None or qform is None:
        return ""
    if nib.aff2axcodes(sform) != nib.aff2axcodes(qform):
        return f"its axes are {_axes(sform)} by the sform and {_axes(qform)} by the qform"
    lengths = np.linalg.norm(sform[:3, :3], axis=0)
    turned = np.abs((sform - qform)[:3, :3] / lengths).max() > TURN_TOLERANCE
    shifted = np.abs((sform - qform)[:3, 3]).max() > lengths.min()
    if one_space and (turned or shifted):
        return f"its qform is {'turned' if turned else 'shifted by more than a voxel'} against its sform, under the same code"
    return ""


def _unusable(affine: Affine) -> str:
    if _singular(affine):
        return "singular or not a number"
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < LEAST_SPACING_MM or lengths.max() > MOST_SPACING_MM:
        return f"of voxels of {_in_mm(lengths)}, which are no head's; write lengths in mm"
    directions = affine[:3, :3] / lengths
    return "sheared" if np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE else ""


def _singular(affine: Affine) -> bool:
    if not np.isfinite(affine).all():
        return True
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    return bool((lengths < 1e-9).any() or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6 or None in nib.aff2axcodes(affine))


def _axes(affine: Affine) -> str:
    return "".join(nib.aff2axcodes(affine))


def _in_mm(lengths: np.ndarray[Any, Any]) -> str:
    return " x ".join(f"{length:.3g}" for length in lengths) + " mm"
