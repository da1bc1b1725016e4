"""Means and intervals, checked by hand and by brute force; differences are paired; seeds and subsets are told apart."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from angiosynth.errors import InputError
from angiosynth.evaluation.patients import PatientScore, TransferScore, read_scores, write_scores, write_transfer
from angiosynth.evaluation.summary import ScoreTable, evaluation_summary, over_seeds, summarise, transfer_summary
from angiosynth.settings import EvaluationSettings
from tests.factories import make_score

SETTINGS = EvaluationSettings(bootstrap=400, seed=5)
VALIDATION = {
    "real": {"val_dsc": 0.9, "val_hd95_mm": 1.0},
    "dcgan": {"val_dsc": 0.7, "val_hd95_mm": 3.0},
    "wgan-gp": {"val_dsc": 0.8, "val_hd95_mm": 2.5, "step": 300},
    "wgan-gp-sn": {"val_dsc": 0.8, "val_hd95_mm": 2.0},
}
LEVELS = {"real": 0.8, "dcgan": 0.6, "wgan-gp": 0.7, "wgan-gp-sn": 0.72, "threshold": 0.5}


def transfer(start: str, n: int, subset: int, patient: str, dsc: float, trained_on: str = "", site: str = "site-b") -> TransferScore:
    return TransferScore(site, start, n, subset, trained_on or f"sub-0{subset}", patient, dsc, 10 * dsc, 20 * dsc, 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three patients a table; real 0.8, dcgan 0.6, the WGANs 0.7 and 0.72, threshold 0.5 on average."""
    for name, level in LEVELS.items():
        write_scores(tmp_path / f"{name}.csv", [make_score(f"sub-0{n}", level + step) for n, step in enumerate((-0.1, 0.0, 0.1))])
    return tmp_path


def test_summary_by_hand() -> None:
    result = summarise([make_score("a", 0.6, 1.0), make_score("b", 0.8, 3.0), make_score("c", 1.0, 8.0, empty=1)], 500, 1)
    expected = {
        "dsc": 0.8,
        "hd95_mm": 4.0,
        "hd_mm": 8.0,
        "assd_mm": 1.0,
        "precision": 0.8,
        "recall": 0.8,
        "cldice": 0.8,
        "bahd_mm": 2.0,
        "hd95_voxels": 8.0,
        "hd_voxels": 16.0,
        "assd_voxels": 2.0,
        "bahd_voxels": 4.0,
        "n_patients": 3,
        "n_seeds": 1,
        "n_empty": 1,
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected)
    assert 0.6 <= result["dsc_low"] < result["dsc"] < result["dsc_high"] <= 1.0
    assert 1.0 <= result["hd95_mm_low"] < result["hd95_mm"] < result["hd95_mm_high"] <= 8.0


def test_interval_is_that_of_all_resamples() -> None:
    values = (0.2, 0.5, 0.9, 1.0)
    every = [np.mean(pick) for pick in itertools.product(values, repeat=4)]
    result = summarise([make_score(str(n), value) for n, value in enumerate(values)], 20_000, 7)
    assert [result["dsc_low"], result["dsc_high"]] == pytest.approx(np.percentile(every, (2.5, 97.5)), abs=0.03)


def test_one_patient_and_equal_patients_have_no_width() -> None:
    for rows in ([make_score("a", 0.7)], [make_score(str(n), 0.1) for n in range(7)]):
        result = summarise(rows, 100, 1)
        assert result["dsc_low"] <= result["dsc"] <= result["dsc_high"]
        assert result["dsc_high"] - result["dsc_low"] < 1e-12


def test_summary_depends_on_the_seed_alone() -> None:
    rows = [make_score(str(n), value) for n, value in enumerate((0.1, 0.5, 0.7, 0.75, 0.9))]
    assert summarise(rows, 50, 1) == summarise(rows, 50, 1)
    assert summarise(rows, 50, 1) != summarise(rows, 50, 2)


def test_nobody_to_summarise() -> None:
    with pytest.raises(InputError, match="no patient"):
        summarise([], 10, 1)


def test_evaluation_summary(folder: Path) -> None:
    result = evaluation_summary(folder, VALIDATION, 0.375, SETTINGS)
    json.dumps(result, allow_nan=False)
    assert result["real"]["dsc"] == pytest.approx(0.8)
    assert result["real"]["val_hd95_mm"] == 1.0
    assert result["wgan-gp"]["n_patients"] == 3
    assert result["threshold"]["threshold"] == 0.375
    assert "val_dsc" not in result["threshold"]
    assert result["ratio_to_real"] == pytest.approx({"dcgan": 0.75, "wgan-gp": 0.875, "wgan-gp-sn": 0.9})
    # Every patient gains the same, so the paired interval has no width although patients differ widely.
    assert result["gain_over_threshold"]["real"] == pytest.approx({"dsc": 0.3, "dsc_low": 0.3, "dsc_high": 0.3})
    assert result["difference_to_real"]["dcgan"]["dsc"] == pytest.approx(-0.2)


def test_tied_validation_goes_to_the_lower_distance_whatever_the_test_says(folder: Path) -> None:
    assert evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)["chosen_by_validation"] == "wgan-gp-sn"
    better = {**VALIDATION, "dcgan": {"val_dsc": 0.81, "val_hd95_mm": 99.0}}
    assert evaluation_summary(folder, better, 0.4, SETTINGS)["chosen_by_validation"] == "dcgan"


def test_order_of_rows_does_not_matter(folder: Path) -> None:
    before = evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)
    write_scores(folder / "dcgan.csv", list(reversed(read_scores(folder / "dcgan.csv"))))
    assert evaluation_summary(folder, VALIDATION, 0.4, SETTINGS) == before


def test_threshold_may_have_validation_scores(folder: Path) -> None:
    unets = {**VALIDATION, "threshold": {"val_dsc": 0.55, "val_hd95_mm": 4.0}}
    assert evaluation_summary(folder, unets, 0.4, SETTINGS)["threshold"]["val_dsc"] == 0.55


def test_a_real_unet_that_finds_nothing_gives_no_ratio(folder: Path) -> None:
    write_scores(folder / "real.csv", [make_score(f"sub-0{n}", 0.0, empty=1) for n in range(3)])
    result = evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)
    assert result["ratio_to_real"] == {"dcgan": None, "wgan-gp": None, "wgan-gp-sn": None}
    assert result["real"]["n_empty"] == 3


def test_evaluation_summary_refuses_gaps(folder: Path) -> None:
    with pytest.raises(InputError, match=r"unet/dcgan/unet\.json"):
        evaluation_summary(folder, {**VALIDATION, "dcgan": {"val_dsc": 0.5}}, 0.4, SETTINGS)
    write_scores(folder / "dcgan.csv", read_scores(folder / "dcgan.csv")[:2])
    with pytest.raises(InputError, match=r"dcgan\.csv: its patients"):
        evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)
    (folder / "threshold.csv").unlink()
    with pytest.raises(InputError, match=r"threshold\.csv: missing"):
        evaluation_summary(folder, VALIDATION, 0.4, SETTINGS)


def test_transfer_summary_by_hand(tmp_path: Path) -> None:
    cells = {(0, "a"): 0.4, (1, "a"): 0.6, (0, "b"): 0.9, (1, "b"): 0.7}
    rows = [transfer("scratch", 1, subset, patient, dsc) for (subset, patient), dsc in cells.items()]
    write_transfer(tmp_path / "scratch.csv", [*rows, transfer("scratch", 12, 0, "a", 0.8), transfer("scratch", 4, 0, "a", 0.7)])
    write_transfer(tmp_path / "real.csv", [])
    result = transfer_summary(tmp_path, SETTINGS)["site-b"]
    assert set(result) == {"scratch"}
    assert list(result["scratch"]) == ["1", "4", "12"]
    one = result["scratch"]["1"]
    assert (one["dsc"], one["hd95_mm"], one["hd_mm"]) == pytest.approx((0.65, 6.5, 13.0))
    assert one["dsc_subset_sd"] == pytest.approx(0.0, abs=1e-12)
    assert (one["n_patients"], one["n_subsets"], one["n_empty"]) == (2, 2, 0)
    assert "dsc_gain" not in one
    assert "dsc_subset_sd" not in result["scratch"]["4"]


def _laid(folder: Path, start: str, values: list[list[float]]) -> None:
    rows = [transfer(start, 1, subset, f"p{patient}", dsc) for subset, line in enumerate(values) for patient, dsc in enumerate(line)]
    write_transfer(folder / f"{start}.csv", rows)


def test_the_transfer_interval_is_that_of_all_resamples_of_subsets_and_patients(tmp_path: Path) -> None:
    table = np.array([[0.1, 0.5, 0.92, 0.7], [0.33, 0.4, 0.61, 0.9], [0.05, 0.2, 0.45, 0.36]])
    _laid(tmp_path, "scratch", table.tolist())
    picks = itertools.product(itertools.product(range(3), repeat=3), itertools.product(range(4), repeat=4))
    every = [table[np.ix_(subsets, patients)].mean() for subsets, patients in picks]
    result = transfer_summary(tmp_path, EvaluationSettings(bootstrap=20_000, seed=3))["site-b"]["scratch"]["1"]
    assert [result["dsc_low"], result["dsc_high"]] == pytest.approx(np.percentile(every, (2.5, 97.5)), abs=0.005)


def test_subsets_that_differ_widen_the_interval(tmp_path: Path) -> None:
    _laid(tmp_path, "scratch", [[0.5, 0.6, 0.7], [0.5, 0.6, 0.7]])
    alike = transfer_summary(tmp_path, SETTINGS)["site-b"]["scratch"]["1"]
    _laid(tmp_path, "scratch", [[0.3, 0.4, 0.5], [0.7, 0.8, 0.9]])
    apart = transfer_summary(tmp_path, SETTINGS)["site-b"]["scratch"]["1"]
    assert alike["dsc"] == pytest.approx(apart["dsc"])
    assert apart["dsc_high"] - apart["dsc_low"] > 2 * (alike["dsc_high"] - alike["dsc_low"])
    assert apart["dsc_subset_sd"] == pytest.approx(0.4 / 2**0.5)


def test_one_subset_leaves_the_interval_over_patients(tmp_path: Path) -> None:
    values = [0.2, 0.5, 0.9]
    _laid(tmp_path, "scratch", [values])
    result = transfer_summary(tmp_path, SETTINGS)["site-b"]["scratch"]["1"]
    alone = summarise([make_score(str(n), value) for n, value in enumerate(values)], SETTINGS.bootstrap, SETTINGS.seed)
    assert {name: result[name] for name in ("dsc", "dsc_low", "dsc_high")} == pytest.approx(
        {name: alone[name] for name in ("dsc", "dsc_low", "dsc_high")}
    )


def test_gains_are_paired_by_subset_and_patient(tmp_path: Path) -> None:
    table = np.array([[0.1, 0.5, 0.9], [0.7, 0.2, 0.4]])
    _laid(tmp_path, "scratch", table.tolist())
    _laid(tmp_path, "dcgan", (table + 0.07).tolist())  # the same gain everywhere has no width, however widely scores differ
    _laid(tmp_path, "real", np.add(table, [[0.1, 0.0, -0.2], [0.1, 0.0, 0.3]]).tolist())
    result = transfer_summary(tmp_path, SETTINGS)["site-b"]
    assert [result["dcgan"]["1"][name] for name in ("dsc_gain", "dsc_gain_low", "dsc_gain_high")] == pytest.approx([0.07] * 3)
    assert result["dcgan"]["1"]["dsc_high"] - result["dcgan"]["1"]["dsc_low"] > 0.2
    real = result["real"]["1"]
    assert real["dsc_gain"] == pytest.approx(0.05)
    assert real["dsc_gain"] == pytest.approx(real["dsc"] - result["scratch"]["1"]["dsc"])
    assert real["dsc_gain_low"] < 0 < real["dsc_gain_high"]


def test_sites_are_summarised_apart_and_gains_compare_one_site_with_itself(tmp_path: Path) -> None:
    """Patients and subsets of two sites may be called alike."""
    sites = {"site-b": 0.4, "site-c": 0.7}
    for start, gain in (("scratch", 0.0), ("real", 0.1)):
        rows = [transfer(start, 1, 0, "a", level * (1 + gain), site=site) for site, level in sites.items()]
        write_transfer(tmp_path / f"{start}.csv", rows)
    result = transfer_summary(tmp_path, SETTINGS)
    assert set(result) == set(sites)
    for site, level in sites.items():
        assert result[site]["scratch"]["1"]["dsc"] == pytest.approx(level)
        assert result[site]["real"]["1"]["dsc_gain"] == pytest.approx(0.1 * level)
        assert result[site]["real"]["1"]["n_subsets"] == 1


def test_without_a_target_there_is_nothing_to_summarise(tmp_path: Path) -> None:
    for start in ("scratch", "real"):
        write_transfer(tmp_path / f"{start}.csv", [])
    assert transfer_summary(tmp_path, SETTINGS) == {}


def test_scores_of_several_seeds_are_averaged() -> None:
    assert over_seeds([{"val_dsc": 0.5, "val_hd95_mm": 3.0, "seed": 1}]) == {"val_dsc": 0.5, "val_hd95_mm": 3.0}
    result = over_seeds([{"val_dsc": 0.5, "val_hd95_mm": 3.0}, {"val_dsc": 0.7, "val_hd95_mm": 4.0}])
    assert result == pytest.approx({"val_dsc": 0.6, "val_hd95_mm": 3.5, "val_dsc_seed_sd": 0.1 * 2**0.5})
    assert over_seeds([{"val_dsc": 0.5, "val_hd95_mm": 3.0}, {"step": 3}]) == {}


def test_a_gain_over_other_subsets_or_patients_is_refused(tmp_path: Path) -> None:
    write_transfer(tmp_path / "scratch.csv", [transfer("scratch", 1, 0, "a", 0.4, "sub-01")])
    for row in (transfer("dcgan", 1, 0, "a", 0.4, "sub-02"), transfer("dcgan", 1, 0, "b", 0.4, "sub-01")):
        write_transfer(tmp_path / "dcgan.csv", [row])
        with pytest.raises(InputError, match=r"dcgan\.csv: its subsets or patients are not those of scratch"):
            transfer_summary(tmp_path, SETTINGS)


def test_a_patient_that_one_subset_did_not_score_is_refused(tmp_path: Path) -> None:
    rows = [transfer("scratch", 1, 0, "a", 0.4), transfer("scratch", 1, 1, "a", 0.6), transfer("scratch", 1, 0, "b", 0.9)]
    write_transfer(tmp_path / "scratch.csv", rows)
    with pytest.raises(InputError, match=r"scratch\.csv: not every subset scored every patient once"):
        transfer_summary(tmp_path, SETTINGS)
    write_transfer(tmp_path / "scratch.csv", [*rows, transfer("scratch", 1, 1, "b", 0.9), rows[0]])
    with pytest.raises(InputError, match="once"):
        transfer_summary(tmp_path, SETTINGS)


def test_transfer_summary_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table"):
        transfer_summary(tmp_path, SETTINGS)
    write_transfer(tmp_path / "real.csv", [transfer("scratch", 1, 0, "a", 0.4)])
    with pytest.raises(InputError, match="another start"):
        transfer_summary(tmp_path, SETTINGS)


def _seeds(level: float, gaps: tuple[float, ...] = (-0.02, 0.0, 0.05)) -> list[PatientScore]:
    """Three seeds that differ by `gaps`, two patients 0.1 above and below the level."""
    return [make_score(name, level + step + gap, seed=seed) for seed, gap in enumerate(gaps, 1) for name, step in (("a", 0.1), ("b", -0.1))]


def test_seeds_are_averaged_before_patients_are_resampled() -> None:
    result = summarise(_seeds(0.5), 400, 1)
    alone = summarise([make_score("a", 0.61), make_score("b", 0.41)], 400, 1)
    assert {name: result[name] for name in ("dsc", "dsc_low", "dsc_high")} == pytest.approx(
        {name: alone[name] for name in ("dsc", "dsc_low", "dsc_high")}
    )
    assert result["dsc_seed_sd"] == pytest.approx(np.std([-0.02, 0.0, 0.05], ddof=1))
    assert (result["n_patients"], result["n_seeds"], result["hd95_mm_seed_sd"]) == (2, 3, 0.0)
    assert "dsc_seed_sd" not in alone  # one seed has no spread to tell


def test_empty_predictions_are_counted_over_seeds() -> None:
    rows = [
        make_score("a", 0.0, empty=1, seed=1),
        make_score("a", 0.0, empty=1, seed=2),
        make_score("b", 0.5, seed=1),
        make_score("b", 0.5, seed=2),
    ]
    assert summarise(rows, 10, 1)["n_empty"] == 2


def test_differences_of_seeds_are_paired(tmp_path: Path) -> None:
    for name, level in LEVELS.items():
        write_scores(tmp_path / f"{name}.csv", [make_score("a", 0.6), make_score("b", 0.4)] if name == "threshold" else _seeds(level))
    write_scores(tmp_path / "dcgan.csv", _seeds(0.6, (0.05, 0.0, -0.02)))
    validation = {**VALIDATION, "real": {**VALIDATION["real"], "val_dsc_seed_sd": 0.01}}
    result = evaluation_summary(tmp_path, validation, 0.4, SETTINGS)
    json.dumps(result, allow_nan=False)
    assert result["real"]["val_dsc_seed_sd"] == 0.01
    assert "dsc_seed_sd" not in result["threshold"]
    assert result["difference_to_real"]["wgan-gp"]["dsc_seed_sd"] == pytest.approx(0.0, abs=1e-12)  # the same luck with every seed
    assert result["difference_to_real"]["dcgan"]["dsc_seed_sd"] == pytest.approx(0.07)
    assert result["difference_to_real"]["dcgan"]["dsc"] == pytest.approx(-0.2)
    assert result["gain_over_threshold"]["real"]["dsc_seed_sd"] == pytest.approx(result["real"]["dsc_seed_sd"])
    write_scores(tmp_path / "dcgan.csv", _seeds(0.6, (0.0, 0.1)))
    with pytest.raises(InputError, match=r"dcgan\.csv: its seeds are not those of real"):
        evaluation_summary(tmp_path, validation, 0.4, SETTINGS)


def test_a_seed_that_did_not_score_a_patient_is_refused() -> None:
    with pytest.raises(InputError, match="not every seed scored every patient once"):
        ScoreTable(_seeds(0.5)[:-1], "seed", Path("metrics/patients/real.csv"))
