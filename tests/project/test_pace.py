"""An estimate counts the settings' work at a measured pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from angiosynth.project import pace as pace_module
from angiosynth.project.pace import AUDITED, CONTROLLED, REFERENCED, START_S, UNKNOWN_VOXELS, WINDOWS, Estimate, Pace, measure
from angiosynth.settings import Settings
from tests.factories import lab_settings, tiny_settings, tiny_tree, write_nifti
from tests.pipeline import ROOT, stages_of

SECTIONS = ("unet", "transfer", "probe", "generators.dcgan", "generators.wgan-gp", "generators.wgan-gp-sn", CONTROLLED)
GENERATORS = tuple(name.removeprefix("generators.") for name in SECTIONS if name.startswith("generators."))


def _pace(**seconds: float) -> Pace:
    steps = {name: seconds.get(name, 0.0) for name in SECTIONS}
    return Pace(steps, dict.fromkeys(GENERATORS, seconds.get("pair", 0.0)), seconds.get("voxel", 0.0), seconds.get("machine", 0.0))


def test_trainings_take_steps_and_validations() -> None:
    settings = tiny_settings(unet__steps=10, unet__validations=2, unet__seeds=2)
    site = settings.phantom.sites["site-a"]
    assert settings.cohort.of_source.split.validation == 1
    voxels = float(np.prod(site.shape))
    by_hand = 2 * (10 * 0.5 + 2 * voxels * WINDOWS * 1e-6)
    assert Estimate(settings, _pace(unet=0.5, voxel=1e-6)).seconds("python cli.py train-unet --data real") == pytest.approx(
        START_S + by_hand
    )


def test_transfer_takes_every_subset_of_every_target() -> None:
    split = {"train": 4, "validation": 0, "test": 1}
    transfer = {"transfer__patients": [1, 4], "transfer__subsets": 3, "transfer__steps": 7}
    settings = tiny_settings(phantom__sites__site_b__patients=5, cohort__sites__site_b__split=split, **transfer)
    # three subsets of one patient, the four patients once
    assert Estimate(settings, _pace(transfer=0.25)).seconds("python cli.py transfer --start real") == START_S + 4 * 7 * 0.25


def test_a_generator_takes_its_steps_and_its_probes() -> None:
    values = {"generators__wgan_gp__steps": 100, "generators__wgan_gp__probes": 3, "probe__steps": 10}
    # three generators probed, and one U-net on real patches
    expected = START_S + 100 * 0.5 + 4 * 10 * 0.1
    pace = _pace(**{"generators.wgan-gp": 0.5, "probe": 0.1, "pair": 0.01})
    command = "python cli.py train-generator --model wgan-gp"
    settings = tiny_settings(**values)
    assert Estimate(settings, pace).seconds(command) == pytest.approx(expected + 3 * settings.probe.pairs * 0.01)
    assert Estimate(settings, pace).seconds("python cli.py synthesize --model wgan-gp") == START_S + settings.synthesis.pairs * 0.01
    last = tiny_settings(**values, generators__wgan_gp__checkpoint_choice="last")
    assert Estimate(last, pace).seconds(command) == START_S + 50


def test_every_stage_but_the_summary_is_counted() -> None:
    tree = tiny_tree()
    settings = Settings.model_validate(tree)
    estimate = Estimate(settings, Pace(dict.fromkeys(SECTIONS, 1.0), dict.fromkeys(GENERATORS, 1.0), 1e-3, 1e-3))
    text = (ROOT / "dvc.yaml").read_text()
    seconds = {stage.name: estimate.seconds(stage.command) for stage in stages_of(text, tree)}
    assert [name for name, value in seconds.items() if value <= START_S] == ["select-unet", "summary"]  # nothing is to be selected


def test_what_audits_have_in_common_is_counted_once() -> None:
    settings = tiny_settings(audit__overfit_steps=20)
    estimate = Estimate(settings, _pace(**{CONTROLLED: 0.5, "machine": 1e-6}))
    audit, size = settings.audit, settings.patches.size
    compared = 1e-6 * size**2 * (audit.compared + audit.checked)
    assert estimate.seconds("python cli.py audit-references") == pytest.approx(START_S + 20 * 0.5 + REFERENCED * compared)
    assert estimate.seconds("python cli.py audit --model wgan-gp") == pytest.approx(START_S + AUDITED * compared)
    detecting = tiny_settings(audit__overfit_steps=20, audit__detector_steps=100)
    more = Estimate(detecting, _pace(**{CONTROLLED: 0.5, "machine": 1e-6})).seconds("python cli.py audit-references")
    by_hand = START_S + 20 * 0.5 + REFERENCED * compared + 2.5 + 100 * (0.017 + 3.3e-6 * size**2)
    assert more == pytest.approx(by_hand)


def test_patches_are_cut_from_training_patients_alone() -> None:
    settings, pace = tiny_settings(), _pace(machine=1e-3)
    more = tiny_settings(phantom__sites__site_a__patients=20, cohort__sites__site_a__split={"train": 2, "validation": 1, "test": 9})
    command = "python cli.py patches --site site-a"
    assert Estimate(more, pace).seconds(command) == Estimate(settings, pace).seconds(command)


def test_select_unet_trains_every_combination() -> None:
    settings = tiny_settings(selection={"learning_rate": [0.001, 0.01], "dropout": [0.0, 0.1, 0.2]}, unet__steps=10, unet__validations=1)
    one = Estimate(settings, _pace(unet=1.0)).seconds("python cli.py train-unet --data real") - START_S
    assert Estimate(settings, _pace(unet=1.0)).seconds("python cli.py select-unet") == START_S + 6 * one


def test_scans_that_nobody_drew_are_measured_by_their_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = lab_settings()
    site = settings.cohort.source
    command, pace = f"python cli.py cohort --site {site}", _pace(machine=1e-3)
    unknown = Estimate(settings, pace).seconds(command) - START_S
    write_nifti(tmp_path / settings.cohort.sites[site].path / "sub-01" / "anat" / "sub-01_angio.nii.gz", np.ones((7, 8, 9), np.float32))
    assert (Estimate(settings, pace).seconds(command) - START_S) / unknown == pytest.approx(7 * 8 * 9 / UNKNOWN_VOXELS)


class Operations(TorchDispatchMode):
    """A clock that goes on with torch's operations, a millisecond each, however busy the machine is."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        self.count += 1
        return function(*arguments, **(named or {}))

    def perf_counter(self) -> float:
        return self.count / 1000


def test_every_network_of_the_settings_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Operations()  # type: ignore[no-untyped-call]  # torch gives its modes no types
    monkeypatch.setattr(pace_module, "time", clock)
    with clock:
        pace = measure(tiny_settings())
    assert set(pace.steps) == set(SECTIONS)
    assert set(pace.pairs) == set(GENERATORS)
    assert min(*pace.steps.values(), *pace.pairs.values(), pace.voxel, pace.machine) > 0
    assert pace.steps["generators.wgan-gp"] > pace.steps["generators.dcgan"], "two critic steps and a penalty against one"


def test_imports_and_libraries_come_before_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first optimiser's step takes seconds, tens from a cold disk: counted as a network's, all of it would seem to take an hour."""
    order: list[str] = []

    class Adam(torch.optim.Adam):
        def step(self, *arguments: Any, **options: Any) -> Any:
            order.append("step")
            return super().step(*arguments, **options)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    monkeypatch.setattr(pace_module, "_measured", lambda _: order.append("measured"))
    measure(tiny_settings())
    assert order == ["step", "measured"]


@pytest.mark.parametrize(("calls", "measured"), [((6.0, 0.5, 0.6), 0.5), ((30.0, 0.5), 30.0)])
def test_a_first_call_that_waited_for_the_disk_is_not_the_measure(
    calls: tuple[float, ...], measured: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        def perf_counter(self) -> float:
            return self.now

    clock, left = Clock(), list(calls)

    def step() -> None:
        clock.now += left.pop(0)

    monkeypatch.setattr(pace_module, "time", clock)
    assert pace_module._seconds(step) == pytest.approx(measured)
