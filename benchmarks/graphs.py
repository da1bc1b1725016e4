"""Time training steps that a GPU replays from CUDA graphs against steps whose kernels Python starts one by one.

    python -m benchmarks.graphs [--params params.yaml] [--steps 50] [--generators wgan-gp flow] [--json]

For each generator of the settings it builds both trainings on blank patches in one process, and runs them in turns: first without graphs,
then with. Warm-up steps and the recording are not timed. It prints the seconds of a step and the ratio. It needs a GPU of NVIDIA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from angiosynth.compute.precision import device
from angiosynth.generators.graphs import without_graphs
from angiosynth.generators.registry import family_of
from angiosynth.runtime.progress import say, tell
from angiosynth.settings import Settings, load_settings
from benchmarks.paper import seconds_of, warm_up


def compare(settings: Settings, name: str, count: int) -> dict[str, float]:
    """Measure the seconds of a step of one generator without and with graphs, and their ratio."""
    generator = settings.generator(name)
    build = family_of(generator).blank_training
    with without_graphs():
        plain = build(generator, settings.patches.size)
    replayed = build(generator, settings.patches.size)
    for step in (plain, replayed):
        warm_up(step)
    seconds = {"plain_s": seconds_of(plain, count), "graphs_s": seconds_of(replayed, count)}
    return {**seconds, "ratio": seconds["plain_s"] / seconds["graphs_s"]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--generators", nargs="+", help="by default all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if device().type != "cuda":
        parser.error("there is no GPU of NVIDIA here")
    settings = load_settings(options.params)
    rows = {}
    for name in options.generators or settings.generators:
        say(f"graphs: {name}")
        rows[name] = compare(settings, name, options.steps)
    tell(torch.cuda.get_device_name(), f"{'generator':<14}{'plain, ms':>11}{'graphs, ms':>12}{'ratio':>8}")
    tell(*(f"{name:<14}{1e3 * row['plain_s']:>11.2f}{1e3 * row['graphs_s']:>12.2f}{row['ratio']:>8.2f}" for name, row in rows.items()))
    if options.json:
        tell(json.dumps({"processor": torch.cuda.get_device_name(), "steps": rows}))


if __name__ == "__main__":
    main()
