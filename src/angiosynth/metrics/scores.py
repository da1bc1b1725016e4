"""The metrics of one patient; the field names are the column names of the patient tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """All metrics of one prediction; `metrics.segmentation` defines them."""

    dsc: float
    hd95_mm: float
    hd_mm: float
    assd_mm: float
    precision: float
    recall: float
    cldice: float
    bahd_mm: float
    hd95_voxels: float
    hd_voxels: float
    assd_voxels: float
    bahd_voxels: float
    empty: int  # 1 if exactly one mask is empty; the distances are then a finite penalty, the diagonal of the volume
