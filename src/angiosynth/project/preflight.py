"""Check before a training that its networks can be built and fit into memory.

Every network of the settings is trained for one step on fake tensors, so that an invalid shape or a batch that exceeds the memory is
reported in seconds instead of after hours of earlier trainings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import torch

from angiosynth.compute.precision import bfloat16_is_native, device, place, without_gpu
from angiosynth.errors import InputError
from angiosynth.generators.registry import family_of
from angiosynth.project.resuming import code_digest
from angiosynth.project.workspace import Workspace
from angiosynth.runtime.machine import memory_available
from angiosynth.runtime.output import read_json, write_json
from angiosynth.runtime.progress import progress
from angiosynth.runtime.rehearsal import Need, Rehearsal, doubles, rehearsal
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import training_step
from angiosynth.segmentation.unet import Unet
from angiosynth.settings import Settings, digest

UNETS = ("probe", "unet", "transfer")
GB = 1e9
BESIDES = 500_000_000  # of a stage besides its training's tensors, in bytes: scans, patches, MLflow
NO_SIZES = frozenset({"steps", "seed", "seeds", "learning_rate", "learning_rate_generator", "learning_rate_critic", "betas", "patients"})
NO_SIZES |= {"probes", "validations", "checkpoint_every", "checkpoint_choice", "critic_iterations", "pairs", "slice_stride", "subsets"}
NO_SIZES |= {"sampling_steps", "sampling_power", "time_mean", "time_deviation", "label", "distance_clip"}
NO_SIZES |= {"real_target", "fake_target", "feature_matching_weight", "gradient_penalty_weight", "ema", "decay", "dropout"}


_known: dict[str, dict[str, Need]] = {}  # digest of the sizes -> section -> memory


class _Sizes(Protocol):
    @property
    def batch_size(self) -> int: ...
    @property
    def loss(self) -> Any: ...


def preflight(settings: Settings, home: Workspace, sections: Sequence[str] | None = None, processes: int = 1) -> None:
    """Check that trainings with these settings will not fail because of shapes or memory.

    Args:
        settings: all settings.
        home: workspace, whose resume files cache the result for later stages.
        sections: sections to check, such as "unet" or "generators.NAME"; None checks all.
        processes: number of simultaneous trainings.

    Raises:
        InputError: a network cannot be built, or needs more memory than is free; the message names the section, both numbers and a remedy.
    """
    refuse_sizes(known_needs(settings, home), all_sections(settings) if sections is None else sections, processes)


def refuse_sizes(needs: Mapping[str, Need], sections: Sequence[str], processes: int = 1) -> None:
    """Check that the trainings of some sections fit the free memory.

    Raises:
        InputError: a section needs more memory.
    """
    processor = device()
    free = torch.cuda.mem_get_info(processor)[0] if processor.type == "cuda" else memory_available()
    for section in sections:
        need = needs[section]
        if free and processes * need.peak > free:
            available = f"{free / GB:.1f} GB are free {'on the GPU' if processor.type == 'cuda' else 'in memory'}"
            takes = f"training would take about {processes * need.peak / GB:.1f} GB"
            raise InputError(f"params.yaml: {section}: {takes}, {available}; lower {_cure(section, need, processes)}")


def needs_of_commands(settings: Settings, home: Workspace, commands: Mapping[str, str]) -> dict[str, int]:
    """Estimate the memory of stages that train, in bytes, by stage.

    Args:
        settings: all settings.
        home: workspace, whose resume files cache the result.
        commands: stage -> its command, such as "python cli.py train-unet --data real".

    Raises:
        InputError: a network cannot be built.
    """
    sections = {name: _sections_of(command) for name, command in commands.items()}
    if not any(sections.values()):
        return {}
    needs = known_needs(settings, home)
    return {name: BESIDES + max((needs[section].peak for section in several), default=0) for name, several in sections.items()}


def _sections_of(command: str) -> tuple[str, ...]:
    """Sections of params.yaml whose networks a stage trains."""
    match command.split():
        case [_, _, "train-generator", *_, name]:
            return f"generators.{name}", "probe"
        case [_, _, "audit", *_, name]:
            return (f"generators.{name}",)  # its control generator
        case [_, _, "train-unet" | "select-unet" | "worth", *_]:
            return ("unet",)
        case [_, _, "transfer", *_]:
            return ("transfer",)
    return ()


def all_sections(settings: Settings) -> tuple[str, ...]:
    """Return all sections of params.yaml that define a training."""
    return (*(f"generators.{name}" for name in settings.generators), *UNETS)


def memory_needs(settings: Settings, sections: Sequence[str] | None = None) -> dict[str, Need]:
    """Measure the memory of each section's training; returns section -> memory.

    Raises:
        InputError: a network cannot be built or trained with these sizes.
    """
    needs: dict[str, Need] = {}
    tried = [(section, rehearse) for section, rehearse in _rehearsals(settings) if sections is None or section in sections]
    for section, rehearse in progress(tried, "trying the networks' sizes", len(tried)):
        try:
            with without_gpu(), rehearsal() as counted:
                needs[section] = rehearse(counted)
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"params.yaml: {section}: its networks cannot be trained with these sizes ({reason[:160]}); lower them"
            ) from error
    return needs


def _rehearsals(settings: Settings) -> Iterator[tuple[str, Callable[[Rehearsal], Need]]]:
    for name, generator in settings.generators.items():
        yield f"generators.{name}", partial(family_of(generator).rehearse, generator, settings.patches.size)
    for section in UNETS:
        yield section, partial(_unet, settings, section)


def _unet(settings: Settings, section: str, counted: Rehearsal) -> Need:
    unet, step = _blank_unet(settings, section)
    copies, moments = doubles(unet), doubles(unet)  # copies of the initial and the best weights; Adam's two moments
    step()
    del moments, step
    lasting = counted.alive
    del copies
    return Need(counted.peak, lasting)


def blank_unet_step(settings: Settings, section: str) -> Callable[[], object]:
    """Return a function that runs one training step of the U-net of a section (UNETS) on empty patches, for timing."""
    return _blank_unet(settings, section)[1]


def _blank_unet(settings: Settings, section: str) -> tuple[Unet, Callable[[], object]]:
    sizes: _Sizes = getattr(settings, section)
    width = settings.probe.width if section == "probe" else settings.unet.width
    processor, size = device(), settings.patches.size
    unet = Unet(width, 0.5)  # dropout stores a mask for each activation, so this is the worst case
    place(unet, processor)
    optimiser = torch.optim.Adam(unet.parameters(), fused=True)
    segmenter = Segmenter(unet.train(), 0.0, 1.0, "auto" if section == "probe" else settings.unet.precision)
    image = torch.zeros(sizes.batch_size, 1, size, size, device=processor).contiguous(memory_format=torch.channels_last)
    label = torch.zeros(sizes.batch_size, 1, size, size, device=processor)
    return unet, partial(training_step, segmenter, optimiser, image, label, sizes.loss)


def _cure(section: str, need: Need, processes: int) -> str:
    """Settings to reduce: first the width if most of the memory is needed between steps, else the batch size."""
    width = {"probe": "probe.width", "unet": "unet.width", "transfer": "unet.width"}.get(section, f"{section}.width")
    first = width if need.lasting > need.peak / 2 else f"{section}.batch_size"
    others = [name for name in (f"{section}.batch_size", width, "patches.size") if name != first]
    return f"{'the number of workers, ' if processes > 1 else ''}{first} (or {', '.join(others)})"


def known_needs(settings: Settings, home: Workspace, keep: bool = True) -> dict[str, Need]:
    """`memory_needs`, cached in memory and among the resume files."""
    key = digest(_sizes(settings), code_digest(), device().type, bfloat16_is_native(device()))
    if key not in _known:
        path = home.resume("preflight", f"{key}.json")
        try:
            _known[key] = {section: Need(**read_json(path)[section]) for section in all_sections(settings)}
        except (InputError, KeyError, TypeError):
            _known[key] = memory_needs(settings)
            if keep:
                write_json(path, {section: asdict(need) for section, need in _known[key].items()})
    return _known[key]


def _sizes(settings: Settings) -> dict[str, Any]:
    """Settings that affect shapes and memory: those of all trainings except numbers of steps, rates and intervals."""

    def sizes(values: dict[str, Any]) -> dict[str, Any]:
        return {key: sizes(value) if isinstance(value, dict) else value for key, value in values.items() if key not in NO_SIZES}

    trained = {section: sizes(getattr(settings, section).model_dump(mode="json")) for section in UNETS}
    generators = {name: sizes(generator.model_dump(mode="json")) for name, generator in settings.generators.items()}
    return {"size": settings.patches.size, "generators": generators, **trained}
