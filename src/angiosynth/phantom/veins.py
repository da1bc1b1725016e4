"""Vessels that are not labelled: dural sinuses and veins, faint in TOF scans, and arteries of the scalp."""

from __future__ import annotations

import numpy as np

from angiosynth.phantom.head import HeadShape
from angiosynth.phantom.tubes import Points, Tubes, Values, along, join


def draw_sinuses(head: HeadShape, rng: np.random.Generator) -> Tubes:
    """Draw the superior sagittal, straight and transverse sinuses; their signals vary along their course."""
    arc = np.linspace(np.radians(-15), np.radians(205), 160)
    centre, (half_x, half_y, half_z) = head.centre_mm, head.half_mm
    # The sagittal sinus follows the inner surface of the skull in the midline, from the forehead over the vertex to the back.
    rim = 1.0 - 1.0 / half_y
    sagittal = centre + rim * np.stack([0.02 * half_x * np.sin(3 * arc), half_y * np.cos(arc), half_z * np.sin(arc)], axis=1)
    straight = np.linspace([0, -42, 14], [0, -82, -2], 50) * head.scale
    veins = [
        _vein(sagittal, np.linspace(1.0, 2.8, 160), rng.uniform(0.35, 0.95), rng),
        _vein(straight, np.full(50, 1.5), rng.uniform(0.3, 0.8), rng),
    ]
    # The transverse sinuses run from the back along the skull to both sides, at constant height.
    for side in (1, -1):
        turn = np.linspace(np.radians(95), np.radians(20), 60)
        level = np.full(60, -8.0 * head.scale)
        path = np.stack([side * half_x * np.cos(turn), centre[1] - half_y * np.sin(turn), level], axis=1)
        veins.append(_vein(head.to_depth(path, np.full(60, 1.0)), np.full(60, 2.2), rng.uniform(0.2, 0.75), rng))
    return join(veins)


def draw_cortical_veins(head: HeadShape, rng: np.random.Generator, count: int = 26) -> Tubes:
    """Draw faint veins just below the surface of the convexity that run upwards to the midline."""
    veins = []
    for _ in range(count):
        # a straight path towards the midline and upwards, with a slow wave, then moved to a constant depth
        side, length = rng.choice([-1, 1]), rng.uniform(20, 60)
        start = rng.uniform([20, -80, 0], [62, 50, 55]) * [side, 1, 1]
        fraction = np.linspace(0, 1, int(length))[:, None]
        path = start + fraction * length * np.array([-side * rng.uniform(0.3, 0.8), rng.normal(0, 0.4), rng.uniform(0.3, 0.9)])
        path += np.sin(fraction * np.pi * rng.uniform(1, 3, 3)) * rng.normal(0, 2.0, 3)
        veins.append(
            _vein(head.to_depth(path, np.full(len(path), rng.uniform(1.5, 5))), np.full(len(path), 0.65), rng.uniform(0.1, 0.4), rng)
        )
    return join(veins)


def draw_scalp_arteries(head: HeadShape, rng: np.random.Generator) -> Tubes:
    """Draw bright, winding arteries outside the skull."""
    veins = []
    for side in (1, -1):
        for _ in range(3):
            start, end = rng.uniform([70, -50, -30], [70, 40, -10]), rng.uniform([55, -80, 20], [70, 60, 60])
            fraction = np.linspace(0, 1, 120)[:, None]
            path = (start + fraction * (end - start)) * [side, 1, 1]
            path += np.sin(fraction * np.pi * rng.uniform(3, 8, 3)) * rng.normal(0, 2.0, 3)
            depth = np.full(len(path), -rng.uniform(6.6, 8.2))
            veins.append(along(head.to_depth(path, depth), np.full(120, 0.75), np.full(120, rng.uniform(0.7, 1.5))))
    return join(veins)


def _vein(path: Points, radius_mm: Values, signal: float, rng: np.random.Generator) -> Tubes:
    """A vein whose signal and calibre vary along its path."""
    fraction = np.linspace(0, 2 * np.pi, len(path))
    swell = 0.75 + 0.25 * np.sin(fraction * rng.uniform(0.5, 2.5) + rng.uniform(0, 6))
    calibre = radius_mm * (1 + 0.2 * np.sin(fraction * rng.uniform(0.5, 2) + rng.uniform(0, 6)))
    return along(np.asarray(path, np.float64), calibre, signal * swell)
