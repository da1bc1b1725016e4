"""How long stages will take on this machine: training steps are timed for some seconds, and counted from the settings.

What is no training is counted in voxels and patches, at a speed relative to a U-net's. These ratios are those of one demo on two cores
with AVX2 alone (docs/benchmarks.md), so elsewhere an estimate is rough: it is for a person who wonders whether to wait.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch

from angiosynth.compute.precision import device, place
from angiosynth.compute.threads import torch_threads
from angiosynth.data.bids import find_patients
from angiosynth.data.nifti import canonical_shape
from angiosynth.errors import InputError
from angiosynth.evaluation.transfer import subsets
from angiosynth.generators.base import GeneratorSettings
from angiosynth.generators.registry import CONTROL, family_of
from angiosynth.project.preflight import blank_unet_step
from angiosynth.segmentation.unet import Unet
from angiosynth.settings import REAL, Settings
from angiosynth.settings.checks import PHANTOM
from angiosynth.settings.sections import SplitSettings

TIMED_S = 0.4  # of each kind of step
UNKNOWN_VOXELS = 8_000_000  # of a scan that cannot be read yet
START_S = 8.0  # of a stage: Python, DVC's hashing, MLflow
WINDOWS = 0.55  # fraction of a scan's voxels that lies in the windows that are segmented
DRAWN_PAIRS = 64  # that are timed
WINDOW = 160  # voxels along a side of the window that is timed
CONTROLLED = "control"  # key of Pace.steps
MACHINE = 16  # width of the U-net whose speed stands for the machine's
# Work that is no training, in voxels that a U-net of width 16 segments meanwhile; of a scan's voxel, or of a patch's.
DRAWN, CHECKED, CUT, SCORED = 0.55, 0.035, 0.045, 0.05
REFERENCED, AUDITED = 12.0, 24.0  # a compared patch, once for all audits and in each
PAGES = 1.0e6  # tables, figures and pages
JUDGES = 1  # U-nets that a probe trains beside those of its generators: one on real patches


@dataclass(frozen=True)
class Pace:
    """Seconds.

    `steps`: of one training step by section of params.yaml, and of the generator that an audit makes learn by heart (CONTROLLED).
    `pairs`: of drawing one pair, by generator. `voxel`: of one that the U-net segments. `machine`: of one that a U-net of width 16
    segments, whatever the settings.
    """

    steps: Mapping[str, float]
    pairs: Mapping[str, float]
    voxel: float
    machine: float


def measure(settings: Settings) -> Pace:
    """Time steps of every network of the settings on blank patches, with the threads of a stage."""
    with torch_threads(settings.threads):
        return _measured(settings)


def _measured(settings: Settings) -> Pace:
    size = settings.patches.size
    trainings: dict[str, Callable[[], object]] = {name: blank_unet_step(settings, name) for name in ("unet", "transfer", "probe")}
    for name, generator in settings.generators.items():
        trainings[f"generators.{name}"] = family_of(generator).blank_training(generator, size)
    for generator in [*settings.generators.values()][:1]:  # one is as wide as the others, unless somebody wants it otherwise
        control = CONTROL({"width": generator.width} | settings.generator_defaults, 1, 1)
        trainings[CONTROLLED] = family_of(control).blank_training(control, size)
    steps = {name: _seconds(step) for name, step in trainings.items()}
    pairs = {name: _drawing(generator, size) for name, generator in settings.generators.items()}
    return Pace(steps, pairs, _segmenting(settings.unet.width), _segmenting(MACHINE))


def _drawing(generator: GeneratorSettings, size: int) -> float:
    """Of one pair, by an untrained generator."""
    family = family_of(generator)
    sampler = family.sampler(generator, size, family.blank(generator, size)["generator"], device())
    return _seconds(lambda: sampler.pairs(DRAWN_PAIRS, 0)) / DRAWN_PAIRS


@torch.no_grad()
def _segmenting(width: int) -> float:
    unet = Unet(width).eval()
    place(unet, device())
    window = torch.zeros(4, 1, WINDOW, WINDOW, device=device()).contiguous(memory_format=torch.channels_last)
    return _seconds(lambda: unet(window)) / window.numel()


def _seconds(step: Callable[[], object]) -> float:
    """Of one call: the least of several, after one that does what is done once; the first where it is long by itself."""
    taken: list[float] = []
    end = time.perf_counter() + TIMED_S
    while len(taken) < 2 or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        if device().type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        if taken[0] > 2 * TIMED_S:
            break
    return min(taken)


class Estimate:
    """Seconds of the commands of dvc.yaml with some settings at some pace."""

    def __init__(self, settings: Settings, pace: Pace) -> None:
        self._settings, self._pace = settings, pace
        self._plain = pace.machine  # of which work that is no training is counted
        self._voxels = {name: self._voxels_of(name) for name in settings.cohort.sites}

    def seconds(self, command: str) -> float:
        """Of one command, such as "python cli.py train-unet --data real"."""
        _, _, verb, *rest = command.split()
        value = rest[-1] if rest else ""
        return START_S + self._work(verb, value)

    def _work(self, verb: str, value: str) -> float:
        match verb:
            case "phantom":
                return self._phantom(value)
            case "cohort":
                return self._plain * CHECKED * self._patients(value) * self._voxels[value]
            case "patches":
                return self._plain * CUT * self._patients(value, "train") * self._voxels[value]
            case "train-generator":
                return self._generator(value)
            case "synthesize":
                return self._sampling(value, self._settings.synthesis.pairs)
            case "select-unet":
                return self._selection() * self._unet()
            case "train-unet":
                return self._settings.unet.seeds * self._unet()
            case "evaluate":
                return self._evaluation(value)
            case "transfer":
                return sum(map(self._transfer, self._settings.cohort.targets))
            case "worth":
                return self._worth()
            case "audit-references":
                return self._settings.audit.overfit_steps * self._pace.steps.get(CONTROLLED, 0.0) + self._compared(REFERENCED)
            case "audit":
                return self._audit(value)
            case "report":
                return self._plain * PAGES
        return 0.0

    def _voxels_of(self, site: str) -> int:
        """Of one scan of a site."""
        entry = self._settings.cohort.sites[site]
        drawn = self._settings.phantom.sites.get(site)
        if drawn is not None and entry.path.rstrip("/") == f"{PHANTOM}{site}":
            return prod(drawn.shape)
        try:
            x, y, z = canonical_shape(find_patients(Path(entry.path))[0].image)
            return x * y * z
        except (InputError, IndexError, OSError):
            return UNKNOWN_VOXELS

    def _patients(self, site: str, *parts: str) -> int:
        split = self._settings.cohort.sites[site].split
        return sum(_count(split, part) for part in parts or ("train", "validation", "test", "held_out"))

    def _unlabelled(self, site: str) -> int:
        """People who are held out without a label; of scans that are not drawn nobody knows yet, so all who are held out."""
        drawn = self._settings.phantom.sites.get(site)
        held_out = self._patients(site, "held_out")
        return min(held_out, drawn.unlabelled) if drawn is not None else held_out

    def _phantom(self, site: str) -> float:
        scanner = self._settings.phantom.sites[site]
        return self._plain * DRAWN * (scanner.patients + scanner.unlabelled) * prod(scanner.shape)

    def _segmentation(self, site: str, *parts: str) -> float:
        """Segmenting and scoring all patients of some parts of a split."""
        return (self._pace.voxel * WINDOWS + self._plain * SCORED) * self._patients(site, *parts) * self._voxels[site]

    def _probes(self, name: str) -> int:
        generator = self._settings.generator(name)
        return generator.probes if generator.checkpoint_choice == "probe_dsc" else 0

    def _generator(self, name: str) -> float:
        generator, probe, source = self._settings.generator(name), self._settings.probe, self._settings.cohort.source
        probes = self._probes(name)
        small = (probe.width / self._settings.unet.width) ** 2 / probe.slice_stride
        one = probe.steps * self._pace.steps["probe"] + small * self._segmentation(source, "validation")
        training = generator.steps * self._pace.steps[f"generators.{name}"]
        return training + (probes + JUDGES * bool(probes)) * one + probes * self._sampling(name, probe.pairs)

    def _sampling(self, name: str, pairs: int) -> float:
        return pairs * self._pace.pairs[name]

    def _unet(self) -> float:
        unet = self._settings.unet
        validations = unet.validations * self._segmentation(self._settings.cohort.source, "validation")
        return unet.steps * self._pace.steps["unet"] + validations

    def _selection(self) -> int:
        """Trainings of select-unet."""
        selection = self._settings.selection
        combinations = prod(max(1, len(getattr(selection, name))) for name in type(selection).model_fields)
        return combinations if combinations > 1 else 0

    def _evaluation(self, data: str) -> float:
        source = self._settings.cohort.source
        if data == "threshold":
            return (
                self._plain
                * (SCORED * self._patients(source, "validation", "test") + CUT * self._patients(source, "train"))
                * self._voxels[source]
            )
        unlabelled = self._unlabelled(source) if data == REAL else 0
        segmented = self._pace.voxel * WINDOWS * unlabelled * self._voxels[source]
        return segmented + self._settings.unet.seeds * self._segmentation(source, "test")

    def _transfer(self, site: str) -> float:
        transfer = self._settings.transfer
        names = [str(number) for number in range(self._patients(site, "train"))]
        validations = transfer.validations * self._segmentation(site, "validation")
        one = transfer.steps * self._pace.steps["transfer"] + validations + self._segmentation(site, "test")
        return len(list(subsets(names, transfer))) * one

    def _worth(self) -> float:
        source = self._settings.cohort.source
        names = [str(number) for number in range(self._patients(source, "train"))]
        one = self._unet() + self._segmentation(source, "test")
        return len(list(subsets(names, self._settings.worth))) * one

    def _audit(self, name: str) -> float:
        # from each probed generator but the chosen one a set is drawn, too
        drawn = max(0, self._probes(name) - 1) * self._sampling(name, self._settings.synthesis.pairs)
        return drawn + self._compared(AUDITED)

    def _compared(self, work: float) -> float:
        """So much work on each of the patches that an audit compares closely."""
        audit = self._settings.audit
        return self._plain * work * self._settings.patches.size**2 * (audit.compared + audit.checked)


def _count(split: SplitSettings, part: str) -> int:
    value = getattr(split, part)
    return value if isinstance(value, int) else len(value)
