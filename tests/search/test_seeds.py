"""A trial that is trained with several seeds: its scores are the means, each seed's stand in its run, hopeless ones end early."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from angiosynth.errors import InputError
from angiosynth.search.results import TrialRow, TrialScore, is_hopeless, mean_score
from angiosynth.search.space import reseeded, search_space
from angiosynth.search.sweep import Sweep, run_sweep
from angiosynth.settings import Settings, load_settings
from angiosynth.tracking.runs import tracking_uri
from tests.factories import tiny_kinds, tiny_tree
from tests.search.trials import MODEL

ROOT = Path(__file__).resolve().parents[2]
Seeds = tuple[int, int, int]


def with_seeds(seeds: int) -> Settings:
    settings = load_settings(ROOT / "profiles" / "demo.yaml")
    return settings.model_copy(update={"sweep": settings.sweep.model_copy(update={"seeds": seeds, "sampler": "random"})})


def seeds_of(settings: Settings) -> Seeds:
    return settings.generator(MODEL).seed, settings.synthesis.seed, settings.unet.seed


def row(number: int, dsc: float | None, hd95_mm: float | None) -> TrialRow:
    return TrialRow(number, "fail" if dsc is None else "complete", {}, dsc, hd95_mm, "", 1.0, "")


class Noted:
    """Scores by trial and seed; keeps what it was asked for. Every trial is better than those before it, unless it is among `poor`."""

    def __init__(self, poor: tuple[int, ...] = (), failing: tuple[int, int] = (-1, -1)) -> None:
        self.asked: list[tuple[int, Seeds]] = []
        self.poor, self.failing = poor, failing

    def __call__(self, settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        del run_id
        assert list(scratch.iterdir()) == [], "each seed has an empty folder of its own"
        (scratch / "generator.pt").write_bytes(b"weights")
        seed = settings.unet.seed
        self.asked.append((number, seeds_of(settings)))
        if (number, seed) == self.failing:
            return TrialScore(0.0, 250.0)
        base = 0.1 if number in self.poor else 0.5 + 0.01 * number
        return TrialScore(base + 0.1 * seed, 30.0 - 10 * base + seed)


def test_seeds_are_raised_for_generator_set_and_unet_alone() -> None:
    settings = with_seeds(1)
    moved = reseeded(settings, MODEL, 2)
    assert seeds_of(moved) == tuple(seed + 2 for seed in seeds_of(settings))
    back = reseeded(moved, MODEL, -2)
    assert back.model_dump() == settings.model_dump(), "nothing else changes"


def test_a_mean_is_taken_over_each_score() -> None:
    mean = mean_score([TrialScore(0.5, 4.0), TrialScore(0.75, 8.0), TrialScore(0.25, 3.0)])
    assert (mean.dsc, mean.hd95_mm) == (0.5, 5.0)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (TrialScore(0.55, 9.0), True),  # worse in both than 0.6 to 0.8: three of five
        (TrialScore(0.65, 9.0), False),  # than 0.7 and 0.8 alone
        (TrialScore(0.55, 1.0), False),  # the best distance of all
    ],
)
def test_hopeless_is_worse_in_both_scores_than_half_of_the_complete_trials(score: TrialScore, expected: bool) -> None:
    rows = [row(number, 0.4 + 0.1 * number, 8.0 - number) for number in range(5)]
    assert is_hopeless(score, rows) is expected
    assert not is_hopeless(score, rows[1:]), "too few trials to tell"
    assert is_hopeless(score, [*rows[1:], row(9, None, None)]) is False, "trials without a score tell nothing"


def test_each_seed_is_in_the_trials_only_run_and_the_score_is_the_mean(root: Path) -> None:
    trial = Noted()
    result = run_sweep(Sweep(with_seeds(3), MODEL, trial, root), 2, "seeds")
    assert trial.asked == [(number, (seed, seed, seed)) for number in (0, 1) for seed in (1, 2, 3)]
    assert [row.dsc for row in result.trials] == [pytest.approx(0.7), pytest.approx(0.71)]
    assert [row.hd95_mm for row in result.trials] == [pytest.approx(27.0), pytest.approx(26.9)]
    client: Any = MlflowClient(tracking_uri(root))
    experiment = client.get_experiment_by_name("sweep").experiment_id
    runs = client.search_runs([experiment])  # other tests' too
    (parent,) = [run.info.run_id for run in runs if run.info.run_name == "seeds"]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent]
    assert {run.info.run_id for run in children} == {row.run_id for row in result.trials}
    first = next(run.data.metrics for run in children if run.info.run_id == result.trials[0].run_id)
    assert first == {
        "val_dsc": pytest.approx(0.7),
        "val_hd95_mm": pytest.approx(27.0),
        **{f"val_dsc_seed_{seed}": pytest.approx(0.5 + 0.1 * seed) for seed in (1, 2, 3)},
        **{f"val_hd95_mm_seed_{seed}": pytest.approx(25.0 + seed) for seed in (1, 2, 3)},
    }
    assert not any((root / ".work" / "sweeps" / "seeds").iterdir())


def test_a_hopeless_trial_keeps_its_first_seeds_score_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    trial = Noted(poor=(2, 6))
    result = run_sweep(Sweep(with_seeds(2), MODEL, trial, tmp_path), 8, "hopeless")
    trained = [sum(number == asked for asked, _ in trial.asked) for number in range(8)]
    assert trained == [2, 2, 2, 2, 2, 2, 1, 2], "trial 2 came too early to tell"
    assert [row.state for row in result.trials] == ["complete"] * 8
    assert result.trials[6].dsc == pytest.approx(0.2)
    assert 6 not in [row.number for row in result.front]


def test_a_trial_of_which_one_seed_finds_no_vessel_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    result = run_sweep(Sweep(with_seeds(3), MODEL, Noted(failing=(1, 2)), tmp_path), 3, "failing")
    assert [row.state for row in result.trials] == ["complete", "fail", "complete"]
    assert "no vessel" in result.trials[1].reason
    with pytest.raises(InputError, match="made with other seeds"):
        run_sweep(Sweep(with_seeds(2), MODEL, Noted(), tmp_path), 3, "failing")


def test_a_single_seed_is_as_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "off")
    trial = Noted(poor=(6,))
    result = run_sweep(Sweep(with_seeds(1), MODEL, trial, tmp_path), 8, "single")
    assert [number for number, _ in trial.asked] == list(range(8))
    assert {seeds for _, seeds in trial.asked} == {(1, 1, 1)}
    score = Noted()(with_seeds(1), _empty(tmp_path), "", 3)
    assert (result.trials[3].dsc, result.trials[3].hd95_mm) == (score.dsc, score.hd95_mm)  # not even divided by one
    assert math.isfinite(score.dsc)


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def test_a_promise_is_not_searched() -> None:
    tree = tiny_tree()
    tree["generators"]["p"] = tiny_kinds()["private-phantom"]
    with pytest.raises(InputError, match=r"generators\.p: each trial on the same patients would be a release"):
        search_space(Settings.model_validate(tree), "p")
