"""Long comparisons run as jobs beside each other, on machines that have neither MLflow nor DVC nor Optuna."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from angiosynth.generators.private_evolution.simulator import DEFAULTS
from angiosynth.generators.private_evolution.space import DIMENSIONS, RANGES, point_of
from angiosynth.generators.storage import load_critic, load_sampler
from angiosynth.project.workspace import Workspace
from angiosynth.report.style import Look
from angiosynth.runtime.output import read_json
from angiosynth.settings import PatchSettings, Settings, UnetSettings, load_settings
from angiosynth.stages.cohort import cohort
from angiosynth.stages.patches import patches
from benchmarks import (
    equal_time,
    leave_one_out,
    leave_one_out_tables,
    models,
    private_hospitals,
    private_phantom,
    private_real,
    private_use,
)
from tests.factories import changed, few_samples, make_cohort, tiny_kinds, tiny_settings, tiny_tree

MISSING = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"mlflow", "dvc", "optuna"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import benchmarks.models, benchmarks.private_phantom
benchmarks.private_phantom.main(["--jobs", "--seeds", "1"])
"""


@pytest.mark.long
def test_jobs_need_neither_mlflow_nor_dvc_nor_optuna(root: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", MISSING], cwd=root, check=True, capture_output=True, text=True, env={"PYTHONPATH": "src:."}
    )
    assert said.stdout.splitlines()[:3] == ["0,0,1", "40,real,1", "10,0.5,1"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project of tubes in noise with a generator of every kind that trains a network, as the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("angiosynth.stages.cohort.preflight", lambda *_: None)  # sizes are no subject here
    tree = changed(tiny_tree(), {"cohort__sites__site_a__path": "lab/a", "cohort__sites__site_b__path": "lab/b"})
    tree["generators"] = {name: entry for name, entry in tiny_kinds().items() if name != "private-phantom"}
    settings = Settings.model_validate(tree)
    for seed, site in enumerate("ab", 1):
        make_cohort(tmp_path / "lab" / site, 4, (32, 36, 4), seed=seed)
    cohort(settings, Workspace())
    patches(settings, Workspace())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    return settings


def _rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    models.main([*arguments, "--device", "cpu", "--json"])
    return [json.loads(text) for text in capsys.readouterr().out.splitlines()]


def test_a_job_trains_and_scores_each_kind(project: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    models.main(["--jobs", "--seeds", "2"])
    jobs = capsys.readouterr().out.splitlines()
    assert sorted(jobs) == sorted(f"{model},2" for model in ("real", *project.generators))
    alone = [row for job in jobs for row in _rows(capsys, "--only", job)]
    assert all(len(row["test"]) == 1 and np.isfinite(row["test"][0]["dsc"]) and row["processor"] == "cpu" for row in alone)
    assert all((row["generator_s"] > 0) is True for row in alone if row["model"] != "real")
    (again,) = _rows(capsys, "--models", "flow", "--seeds", "2")
    (flow,) = (row for row in alone if row["model"] == "flow")
    assert again["test"] == flow["test"]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, alone)), encoding="utf-8")
    models.main(["--collect", "rows.jsonl"])
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(alone)


def test_a_job_scores_each_source_of_labels_from_one_training(project: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _rows(capsys, "--only", "flow,1", "--labels", "generator", "unet")
    assert [row["model"] for row in rows] == ["flow", "flow:unet"]
    assert len({row["generator_s"] for row in rows}) == 1
    inputs = models.open_project(project)
    labeller = models.real_labeller(project, inputs.real, inputs.validation)
    pairs, _ = models.made_by("flow", project, inputs.real, inputs.validation)
    labelled = models.relabelled(pairs, labeller)
    assert np.array_equal(labelled.image, pairs.image)
    assert np.array_equal(labelled.label, labeller.labels(np.asarray(pairs.image)))
    assert rows[1]["test"] == models.worth(labelled, project, inputs.validation, inputs.test, "")["test"]


def test_a_kept_generator_draws_the_pairs_of_the_job(project: Settings, tmp_path: Path) -> None:
    inputs, folder = models.open_project(project), tmp_path / "kept"
    pairs, scores = models.made_by("wgan-gp", project, inputs.real, inputs.validation, folder)
    synthesis, generator = project.synthesis, project.generator("wgan-gp")
    image, label = load_sampler(folder, generator, inputs.real.size).pairs(synthesis.pairs, synthesis.seed, synthesis.label_threshold)
    assert np.array_equal(image, pairs.image)
    assert np.array_equal(label, pairs.label)
    assert load_critic(folder, generator, inputs.real.size) is not None
    assert read_json(folder / "generator.json")["probe_dsc"] == scores["probe_dsc"]


def test_real_patches_of_some_patients_are_drawn_by_the_seed(project: Settings) -> None:
    real = models.open_project(project).real
    everybody = models.patients_of(real)
    drawn = {tuple(models.patients_of(models.real_patches(real, "real:1", seed))) for seed in range(20)}
    assert drawn == {(name,) for name in everybody}
    assert models.patients_of(models.real_patches(real, "real", 1)) == everybody


def test_equal_time_gives_each_kind_the_steps_that_fit(
    project: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    seconds = {"flow": 0.5, "wgan-gp": 0.25}
    monkeypatch.setattr(equal_time, "step_seconds", lambda settings, name, width, count: seconds.get(name, 100.0) * width)
    equal_time.main(["timed.yaml", "--minutes", "1", "2", "--wider", "1", "4", "--json"])
    width = project.generator("flow").width
    timed = load_settings(tmp_path / "timed.yaml").generators
    assert set(timed) == {f"{name}-{minutes}" for name in project.generators for minutes in (1, 2)}
    steps = {name: (generator.width / width, generator.steps * width) for name, generator in timed.items()}
    assert (steps["flow-1"], steps["flow-2"], steps["wgan-gp-1"]) == ((1, 120), (4, 60), (1, 240))
    assert all(generator.steps == 1 for name, generator in timed.items() if "dcgan" in name)
    assert [row["steps"] for row in json.loads(capsys.readouterr().out)] == [generator.steps for generator in timed.values()]
    with pytest.raises(SystemExit):
        equal_time.main(["timed.yaml", "--minutes", "1", "2", "--wider", "1"])


def test_equal_time_measures_a_step_of_each_kind(project: Settings) -> None:
    assert all(equal_time.step_seconds(project, name, 2, 1) > 0 for name in project.generators)


def test_processes_share_the_rows_of_leaving_one_out(project: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for job in ("sub-01,threshold", "sub-03,threshold"):
        leave_one_out.main(["out", "--only", job, "--device", "cpu"])
    rows = [json.loads(text) for text in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [(row["test"], row["training"], row["n_patients"]) for row in rows] == [("sub-01", "threshold", 2), ("sub-03", "threshold", 2)]
    assert "|" not in capsys.readouterr().out  # the table is of all rows


def _left_out(test: str, training: str, n_patients: int, dsc: float) -> dict[str, Any]:
    return {"test": test, "training": training, "n_patients": n_patients, "dsc": dsc, "cldice": 0.5, "hd95_mm": 2.0}


def test_the_table_of_leaving_one_out_has_worth_and_what_a_set_adds(tmp_path: Path) -> None:
    levels = {("threshold", 4): 0.6, ("real", 1): 0.6, ("real", 4): 0.8, ("gan", 4): 0.7, ("gan+real", 1): 0.65}
    rows = [_left_out(f"sub-{place}", name, count, dsc + place / 10) for place in (0, 1) for (name, count), dsc in levels.items()]
    text = leave_one_out_tables.table(rows, ("gan",))
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in text.splitlines()[2:] if "|" in line}
    assert lines["gan"][:3] == ["0.750", "0.700 to 0.800", "+0.100"]
    assert (lines["gan"][6], lines["real, 1 patient"][6]) == ("2.0", "")
    assert "gan and real, 1 patient less real, 1 patient, paired: DSC +0.050 (+0.050 to +0.050), clDice +0.000 (+0.000 to +0.000)" in text
    assert "gan less real, 4 patients, paired: DSC -0.100 (-0.100 to -0.100)" in text
    leave_one_out_tables.figure(rows, Look(("gan",)), tmp_path / "left-out.png")
    assert (tmp_path / "left-out.png").stat().st_size > 10_000


def _row(model: str, seed: int, dsc: float, **more: float) -> dict[str, Any]:
    return {
        "model": model,
        "seed": seed,
        **more,
        "test": [{"dsc": dsc + 0.1, "hd95_mm": 2.0, "cldice": 0.9}, {"dsc": dsc - 0.1, "hd95_mm": 4.0, "cldice": 0.7}],
    }


def test_a_table_has_means_over_seeds_the_share_of_real_and_the_worth() -> None:
    rows = [_row("real", 1, 0.8, patients=8), _row("real:2", 1, 0.6, patients=2)]
    rows += [_row("gan", 1, 0.65, generator_s=60.0), _row("gan", 2, 0.75, generator_s=120.0)]
    assert list(models.table(rows))[2:] == [
        "| real | 0.800 | - | 3.0 | 0.800 | - | - | - | 1 |",
        "| real:2 | 0.600 | - | 3.0 | 0.800 | - | - | - | 1 |",
        "| gan | 0.700 | 0.071 | 3.0 | 0.800 | 0.875 | 4.0 | 1.5 | 2 |",
    ]


@pytest.fixture
def tiny_hospitals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hospitals of two patients on a coarse grid."""
    few_samples(monkeypatch)
    for module in (private_hospitals, private_phantom):
        monkeypatch.setattr(module, "SHAPE", (24, 28, 6))
        monkeypatch.setattr(module, "SPACING_MM", (6.4, 6.4, 8.0))
        monkeypatch.setattr(module, "SIZE", 16)
    monkeypatch.setattr(private_hospitals, "CUT", PatchSettings(size=16, on_vessels=6, on_bright=3, in_brain=3))
    monkeypatch.setattr(private_hospitals, "TESTED", 1)
    monkeypatch.setattr(private_hospitals, "BLOCK", 1)
    monkeypatch.setattr(private_phantom, "PAIRS", 32)
    monkeypatch.setattr(private_phantom, "REFERENCE", 2)
    monkeypatch.setattr(private_phantom, "UNET", UnetSettings(width=2, steps=2))
    small, whole = {"candidates": 8, "kept": 2, "votes": 2, "steps": 2}, private_phantom.settings_of
    monkeypatch.setattr(private_phantom, "settings_of", lambda epsilon, seed: whole(epsilon, seed).model_copy(update=small))
    private_hospitals.tested.cache_clear()
    private_phantom.scale_of.cache_clear()


def test_hospitals_are_drawn_from_the_ranges_by_their_number_alone(capsys: pytest.CaptureFixture[str]) -> None:
    points = np.stack([point_of(private_hospitals.hidden_settings(f"drawn-{number}")) for number in range(1, 101)])
    np.testing.assert_array_equal(points[6], point_of(private_hospitals.hidden_settings("drawn-7")))
    free = np.delete(points, list(RANGES).index("vein_contrast"), axis=1)
    assert ((free >= 0) & (free <= 1)).all()
    assert np.abs(free.mean(axis=0) - 0.5).max() < 0.12
    assert free.std(axis=0).min() > 0.2  # an even distribution has 0.29
    with pytest.raises(SystemExit):
        private_phantom.main(["--only", "0,0,1", "--hospitals", "drawn-0"])
    assert "no hospital 'drawn-0': faint" in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_hospitals")
@pytest.mark.long
def test_a_job_of_private_evolution_is_collected_into_a_table_and_a_figure(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_phantom, "gan_settings", lambda seed: tiny_settings())
    kept = ["--hospitals", "faint", "--cache", str(tmp_path / "cache"), "--rows", str(tmp_path / "rows.jsonl")]
    private_phantom.main(["--only", "0,0,1", *kept])
    private_phantom.main(["--only", "0,0,1", "2,real,1", "2,wgan-gp,1", "2,8,1", *kept])  # the first one is not made again
    rows = capsys.readouterr().out
    assert (tmp_path / "rows.jsonl").read_text(encoding="utf-8") == rows
    names = [json.loads(row)["drawing"] for row in rows.splitlines()]
    assert names == ["defaults", "ranges", "hidden settings", "real", "wgan-gp", "winners", "around winners", "posterior", "unlabelled"]
    hidden = json.loads(rows.splitlines()[2])
    assert max(hidden["settings"], hidden["draw"]) < 1e-9  # the settings themselves
    (spread,) = (json.loads(row) for row in rows.splitlines() if '"ranges"' in row)
    assert spread["draw"] > 0.28 > spread["settings"]  # of a draw: 0.29 in the ranges' middle, more elsewhere
    private_phantom.main(["--collect", str(tmp_path / "rows.jsonl"), "--figure", str(tmp_path / "dsc.png")])
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(names)
    assert table[-2].startswith("| faint | real | 2 | - |")
    assert table[-1].startswith("| faint | wgan-gp | 2 | - |")
    assert (tmp_path / "dsc.png").stat().st_size > 0
    private_hospitals.tested.cache_clear()
    private_phantom.scale_of.cache_clear()


@pytest.mark.long
@pytest.mark.usefixtures("tiny_hospitals")
def test_a_folder_of_scans_votes_without_its_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_real, "CUT", private_hospitals.CUT)
    monkeypatch.setattr(private_real, "SHAPE", (24, 28, 6))
    monkeypatch.setattr(private_real, "UNET", private_phantom.UNET)
    folder = make_cohort(tmp_path / "lab", 3, (32, 36, 4))
    private_real.main([str(folder), "--epsilons", "8", "--seeds", "1", "2", "--rows", str(tmp_path / "rows.jsonl")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| votes", "| defaults", "| ranges", "| threshold", "| real"]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [len(row["dsc"]) for row in rows] == [3] * 8
    assert f"{np.mean([row['dsc'] for row in rows if row['set'] == 'votes']):.3f}" in lines[2]


@pytest.fixture(scope="module")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patients that a test of tiny hospitals has drawn are not drawn again by the next one."""
    return tmp_path_factory.mktemp("hospitals")


@pytest.mark.long
@pytest.mark.usefixtures("tiny_hospitals")
def test_starts_for_a_second_hospital_and_attacks_on_who_voted_are_told_with_their_control(
    capsys: pytest.CaptureFixture[str], hospitals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_use, "UNET", UnetSettings(width=2, steps=2))
    monkeypatch.setattr(private_use, "FINE_TUNING", UnetSettings(width=2, steps=2))
    monkeypatch.setattr(private_use, "CONTROLS", 1)
    private_use.main(["--cache", str(hospitals), "--patients", "2", "--json"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()[5:]]
    assert [row["start"] for row in rows] == ["scratch", "epsilon 8", "ranges"]
    attacks = [row["membership"] for row in rows[1:]]
    assert all(attack["members"] == attack["others"] == 2 for attack in attacks)
    # real patches stand in either set's place, so the control is one and the same
    assert attacks[0]["control"] == attacks[1]["control"]


@pytest.mark.usefixtures("tiny_hospitals")
def test_a_set_that_holds_voters_patches_is_found_by_the_attack(hospitals: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_use, "CONTROLS", 1)
    copied = private_hospitals.patches_of_hospital("dim", 2, hospitals)
    statistics = private_use.membership(copied, "dim", 2, hospitals, seed=1)
    assert statistics["auc"] == 1
    assert max(statistics["member_scores"]) == 0


def test_settings_around_winners_stay_in_the_ranges_and_near_them() -> None:
    corner = np.zeros((1, DIMENSIONS))
    points, weights = private_phantom.around(corner, np.ones(1), 1)
    assert points.min() >= 0
    assert np.sqrt(np.square(points).mean()) == pytest.approx(private_phantom.KERNEL, rel=0.1)
    assert weights.sum() == pytest.approx(1)
    middle, _ = private_phantom.around(point_of(DEFAULTS)[None], np.ones(1), 1)
    np.testing.assert_allclose(middle.mean(axis=0), point_of(DEFAULTS), atol=0.06)
