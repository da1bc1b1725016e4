"""The metrics of one patient by name, which are also the columns of the patients' tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scores:
    """Every metric of a prediction, as `evaluation.metrics` defines it."""

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
    empty: int  # 1 where exactly one mask is empty, so that the volume's diagonal stands for the distances as a finite penalty
