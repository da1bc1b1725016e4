"""Estimate the duration of stages on this machine: time training steps for some seconds, and count steps from the settings.

Other work is counted in voxels and patches, at a speed relative to that of a U-net. These ratios were measured in one demo on two cores
with AVX2 only (docs/benchmarks.md). Elsewhere estimates are rough; they help a person to decide whether to wait.
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

TIMED_S, TIMED_CALLS = 0.4, 20  # most seconds and calls for timing each kind of step
LONG_S = 10.0  # a shorter first call may have waited for a cold disk
UNKNOWN_VOXELS = 8_000_000  # assumed for scans that cannot be read yet
START_S = 8.0  # overhead of a stage in seconds: Python, DVC's hashing, MLflow
WINDOWS = 0.55  # fraction of a scan's voxels inside the windows that are segmented
DRAWN_PAIRS = 64  # number of pairs for timing
WINDOW = 160  # side of the window for timing, in voxels
CONTROLLED = "control"  # key of Pace.steps
MACHINE = 16  # width of the U-net whose speed represents the machine
# Work other than training per voxel of a scan, in voxels that a U-net of width 16 segments in the same time.
DRAWN, CHECKED, CUT, SCORED = 0.55, 0.035, 0.045, 0.05
REFERENCED, AUDITED = 12.0, 24.0  # the same per voxel of a compared patch, once for all audits and for each audit
DETECTOR_HEADS, DETECTOR_STEP, DETECTOR_PIXEL = 2.5e6, 17_000, 3.3  # for its heads, for each step, and for each pixel of a patch in a step
PAGES = 1.0e6  # the same for tables, figures and pages in total
JUDGES = 1  # U-nets that the probes of a generator train besides one per probe: one on real patches


@dataclass(frozen=True)
class Pace:
    """Durations in seconds.

    Attributes:
        steps: one training step, by section of params.yaml, and of the memorising generator of an audit (CONTROLLED).
        pairs: drawing one pair, by generator.
        voxel: segmenting one voxel with the U-net of the settings.
        machine: segmenting one voxel with a U-net of width 16.
    """

    steps: Mapping[str, float]
    pairs: Mapping[str, float]
    voxel: float
    machine: float


def measure(settings: Settings) -> Pace:
    """Time the training steps of all networks on empty patches, with the number of threads of a stage."""
    with torch_threads(settings.threads):
        _initialise()
        return _measured(settings)


def _initialise() -> None:
    """Train a tiny network for one step: the first one imports modules and reads libraries from disk, which no later one does."""
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ConvTranspose2d(8, 1, 3)).to(device())
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    network(torch.zeros(2, 1, 16, 16, device=device())).square().mean().backward()
    optimiser.step()


def _measured(settings: Settings) -> Pace:
    size = settings.patches.size
    steps = {name: _seconds(blank_unet_step(settings, name)) for name in ("unet", "transfer", "probe")}
    for name, generator in settings.generators.items():
        steps[f"generators.{name}"] = _seconds(family_of(generator).blank_training(generator, size))
    for generator in [*settings.generators.values()][:1]:  # usually all generators have the same width
        control = CONTROL({"width": generator.width} | settings.generator_defaults, 1, 1)
        steps[CONTROLLED] = _seconds(family_of(control).blank_training(control, size))
    pairs = {name: _drawing(generator, size) for name, generator in settings.generators.items()}
    return Pace(steps, pairs, _segmenting(settings.unet.width), _segmenting(MACHINE))


def _drawing(generator: GeneratorSettings, size: int) -> float:
    """Seconds for drawing one pair from an untrained generator."""
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
    """Seconds of one call: the minimum over several, since the first includes initialisation. A call of LONG_S is not repeated."""
    taken: list[float] = []
    end = time.perf_counter() + TIMED_S
    while len(taken) < 2 or (len(taken) < TIMED_CALLS and time.perf_counter() < end):
        start = time.perf_counter()
        step()
        if device().type == "cuda":
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
        if taken[0] > LONG_S:
            break
    return min(taken)


class Estimate:
    """Estimated seconds of the commands in dvc.yaml."""

    def __init__(self, settings: Settings, pace: Pace) -> None:
        self._settings, self._pace = settings, pace
        self._plain = pace.machine  # unit of work other than training
        self._voxels = {name: self._voxels_of(name) for name in settings.cohort.sites}

    def seconds(self, command: str) -> float:
        """Return the seconds of one command, such as "python cli.py train-unet --data real"."""
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
                voters = self._patients(value, "voters")  # cut with the training patients, who vote too
                cut = self._patients(value, "train") * (2 if voters else 1) + voters
                return self._plain * CUT * cut * self._voxels[value]
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
                return self._worth() if value == REAL or self._settings.worth.together else 0.0
            case "audit-references":
                control = self._settings.audit.overfit_steps * self._pace.steps.get(CONTROLLED, 0.0)
                return control + self._detector() + self._compared(REFERENCED)
            case "audit":
                return self._audit(value)
            case "report":
                return self._plain * PAGES
        return 0.0

    def _voxels_of(self, site: str) -> int:
        """Number of voxels in one scan of a site."""
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
        return sum(_count(split, part) for part in parts or ("train", "validation", "test", "held_out", "voters"))

    def _unlabelled(self, site: str) -> int:
        """Number of held-out people without a label; for real scans this is not yet known, so all held-out people are counted."""
        drawn = self._settings.phantom.sites.get(site)
        held_out = self._patients(site, "held_out")
        return min(held_out, drawn.unlabelled) if drawn is not None else held_out

    def _phantom(self, site: str) -> float:
        scanner = self._settings.phantom.sites[site]
        return self._plain * DRAWN * (scanner.patients + scanner.unlabelled) * prod(scanner.shape)

    def _segmentation(self, site: str, *parts: str) -> float:
        """Seconds for segmenting and scoring all patients of some parts of the split."""
        return (self._pace.voxel * WINDOWS + self._plain * SCORED) * self._patients(site, *parts) * self._voxels[site]

    def _probes(self, name: str) -> int:
        generator = self._settings.generator(name)
        return generator.probes if generator.checkpoint_choice == "probe_dsc" else 0

    def _generator(self, name: str) -> float:
        generator, probe, source = self._settings.generator(name), self._settings.probe, self._settings.cohort.source
        probes = self._probes(name)
        small = (probe.width / self._settings.unet.width) ** 2 / probe.slice_stride
        probing = probe.steps * self._pace.steps["probe"] + small * self._segmentation(source, "validation")
        training = generator.steps * self._pace.steps[f"generators.{name}"]
        return training + (probes + JUDGES * bool(probes)) * probing + probes * self._sampling(name, probe.pairs)

    def _sampling(self, name: str, pairs: int) -> float:
        return pairs * self._pace.pairs[name]

    def _unet(self) -> float:
        unet = self._settings.unet
        validations = unet.validations * self._segmentation(self._settings.cohort.source, "validation")
        return unet.steps * self._pace.steps["unet"] + validations

    def _selection(self) -> int:
        """Number of trainings of select-unet."""
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
        training = transfer.steps * self._pace.steps["transfer"] + validations + self._segmentation(site, "test")
        return len(list(subsets(names, transfer))) * training

    def _worth(self) -> float:
        source = self._settings.cohort.source
        names = [str(number) for number in range(self._patients(source, "train"))]
        training = self._unet() + self._segmentation(source, "test")
        return len(list(subsets(names, self._settings.worth))) * training

    def _audit(self, name: str) -> float:
        # a set is also drawn from each probed generator that was not selected
        drawn = max(0, self._probes(name) - 1) * self._sampling(name, self._settings.synthesis.pairs)
        return drawn + self._compared(AUDITED)

    def _detector(self) -> float:
        steps = self._settings.audit.detector_steps
        per_step = DETECTOR_STEP + DETECTOR_PIXEL * self._settings.patches.size**2
        return self._plain * (DETECTOR_HEADS + steps * per_step) if steps else 0.0

    def _compared(self, work: float) -> float:
        """Seconds for an amount of work per voxel of the patches that an audit compares in detail."""
        audit = self._settings.audit
        return self._plain * work * self._settings.patches.size**2 * (audit.compared + audit.checked)


def _count(split: SplitSettings, part: str) -> int:
    value = getattr(split, part)
    return value if isinstance(value, int) else len(value)
