"""The grown arteries: Murray's law, the head's bounds, lesions."""

from __future__ import annotations

import numpy as np
import pytest

from angiosynth.phantom.head import HeadShape, draw_shape
from angiosynth.phantom.lesions import diseased, narrow, occlude
from angiosynth.phantom.vessel_tree import LEAF_RADIUS_MM, Tree, grow_tree, murray_radii


def grown(seed: int) -> tuple[HeadShape, Tree]:
    rng = np.random.default_rng(seed)
    head = draw_shape(rng)
    return head, grow_tree(head, rng)


@pytest.fixture(scope="module")
def tree() -> Tree:
    return grown(1)[1]


def test_murray_by_hand() -> None:
    # 3^3 + 4^3 + 5^3 = 6^3: leaves of 3 and 4 meet (91 = 4.498^3), then one of 5 joins and gives 6.
    parents = np.array([-1, 0, 0, 1, 1])
    radii = murray_radii(parents, np.zeros(5), np.array([0, 0, 5.0, 3.0, 4.0]))
    np.testing.assert_allclose(radii, [6, 91 ** (1 / 3), 5, 3, 4])


def test_unbranched_stretch_widens_towards_the_heart() -> None:
    radii = murray_radii(np.array([-1, 0, 1]), np.array([0, 10.0, 10.0]), np.ones(3))
    np.testing.assert_allclose(radii, [1.015**2, 1.015, 1.0])  # 0.15 per cent a millimetre


def test_every_fork_of_a_grown_tree_obeys_murray(tree: Tree) -> None:
    children = np.bincount(tree.parents[tree.parents >= 0], minlength=len(tree.points))
    cubes = np.bincount(tree.parents[tree.parents >= 0], tree.radii_mm[tree.parents >= 0] ** 3, len(tree.points))
    forks = children > 1
    assert forks.sum() > 60
    np.testing.assert_allclose(tree.radii_mm[forks] ** 3, cubes[forks])
    assert tree.radii_mm.min() >= LEAF_RADIUS_MM[0]


def test_calibres_and_roots_are_those_of_a_person(tree: Tree) -> None:
    assert sorted(tree.arteries[tree.parents < 0]) == ["BA", "ICA", "ICA"]
    medians = {name: float(np.median(tree.radii_mm[tree.arteries == name])) for name in ("ICA", "M1", "BA")}
    assert 1.8 < medians["ICA"] < 2.8
    assert 1.3 < medians["M1"] < 2.2
    assert medians["ICA"] > medians["M1"]


def test_parents_come_first_and_steps_are_short(tree: Tree) -> None:
    assert np.all(tree.parents < np.arange(len(tree.points)))
    assert tree.lengths_mm().max() < 8


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_branches_keep_to_the_brain(seed: int) -> None:
    head, tree = grown(seed)
    cortical = np.isin(tree.arteries, ["MCA", "ACA", "PCA"])
    assert head.rho(*tree.points[cortical].T).max() < 1.0


def test_patients_differ_and_a_seed_repeats_itself(tree: Tree) -> None:
    again, other = grown(1)[1], grown(2)[1]
    np.testing.assert_array_equal(again.points, tree.points)
    np.testing.assert_array_equal(again.radii_mm, tree.radii_mm)
    assert other.points.shape != tree.points.shape or not np.allclose(other.points, tree.points)


def test_stenosis_narrows_there_only_and_slows_the_flow_behind(tree: Tree) -> None:
    place = int(np.flatnonzero(tree.arteries == "M1")[8])
    sick = narrow(tree, place, severity=0.6, half_length_mm=2.0)
    assert sick.radii_mm[place] == pytest.approx(0.4 * tree.radii_mm[place])
    far = np.linalg.norm(tree.points - tree.points[place], axis=1) > 12
    np.testing.assert_allclose(sick.radii_mm[far], tree.radii_mm[far])
    assert sick.flow[place] == pytest.approx(1 - 0.4 * 0.6)
    assert sick.flow[int(tree.parents[place])] == 1.0
    assert np.count_nonzero(sick.flow < 1) > 500  # the whole territory behind it


def test_stenosis_spares_the_same_artery_of_the_other_side(tree: Tree) -> None:
    anterior = tree.arteries == "A1"
    place = int(np.flatnonzero(anterior & (tree.points[:, 0] > 0))[-1])  # its end, near the midline
    sick = narrow(tree, place, severity=0.6, half_length_mm=8.0)
    other = anterior & (tree.points[:, 0] < -1)
    assert np.linalg.norm(tree.points[other] - tree.points[place], axis=1).min() < 10
    np.testing.assert_array_equal(sick.radii_mm[other], tree.radii_mm[other])
    assert sick.radii_mm[place - 5] < 0.8 * tree.radii_mm[place - 5]


def test_occlusion_takes_all_that_hangs_on_it(tree: Tree) -> None:
    place = int(np.flatnonzero(tree.arteries == "M1")[8])
    left = occlude(tree, place)
    assert len(left.points) < len(tree.points) - 500
    assert np.all(left.parents < np.arange(len(left.points)))
    np.testing.assert_array_equal(left.points[left.parents[5]], tree.points[tree.parents[5]])
    side = np.sign(tree.points[place, 0])
    assert not np.any((left.arteries == "MCA") & (left.points[:, 0] * side > 20))
    assert np.any((left.arteries == "MCA") & (left.points[:, 0] * side < -20))


def test_diseased_trees_are_narrower_somewhere_whatever_the_seed(tree: Tree) -> None:
    lengths = set()
    for seed in range(40):
        sick = diseased(tree, np.random.default_rng(seed))
        assert sick.radii_mm.min() < LEAF_RADIUS_MM[0] or sick.flow.min() < 1
        lengths.add(len(sick.points))
    assert len(tree.points) in lengths
    assert len(lengths) > 5
