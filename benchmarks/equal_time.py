"""Give every kind of generator the same training time: an entry of params.yaml for each kind and time, with the steps that fit into it.

    python -m benchmarks.equal_time OUT.yaml [--minutes 5 30 120] [--wider 1 1 2] [--steps 20] [--json]

Run it in a project's folder. It measures a training step of each entry of `generators` on this machine, as benchmarks/paper.py does, with
the threads of params.yaml, and writes OUT.yaml: params.yaml with an entry NAME-MINUTES in place of each entry and for each time, which has
as many steps as the time allows. --wider multiplies the width of the networks for each of the times: longer times are spent on larger
networks. Probes, synthesis and U-nets are not part of the time. Copied to params.yaml, benchmarks/models.py scores all entries, also on
another machine: a GPU then takes the steps that this machine had time for.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from angiosynth.compute.threads import use_threads
from angiosynth.generators.registry import family_of
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import say, tell
from angiosynth.settings import Settings, load_settings
from benchmarks.paper import seconds_of, warm_up

PARAMS = Path("params.yaml")


def step_seconds(settings: Settings, name: str, width: int, count: int) -> float:
    """Measure the seconds of a training step of an entry with another width, after `warm_up`."""
    generator = settings.generator(name).model_copy(update={"width": width})
    step = family_of(generator).blank_training(generator, settings.patches.size)
    warm_up(step)
    return seconds_of(step, count)


def timed_entry(entry: dict[str, Any], width: int, minutes: float, seconds: float) -> dict[str, Any]:
    """Return an entry of `generators` with the width, and the steps that fit into the time."""
    return {**entry, "width": width, "steps": max(int(60 * minutes / seconds), 1)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", nargs="+", type=float, default=[5, 30, 120])
    parser.add_argument("--wider", nargs="+", type=int, help="a factor of the width for each of the times; by default 1")
    parser.add_argument("--steps", type=int, default=20, help="measured steps")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    factors = options.wider or [1] * len(options.minutes)
    if len(factors) != len(options.minutes):
        parser.error(f"--wider: {len(factors)} factors for {len(options.minutes)} times")
    keep_freed_memory()
    settings = load_settings(PARAMS)
    use_threads(settings.threads)
    yaml = YAML()
    tree = yaml.load(PARAMS)
    entries: dict[str, dict[str, Any]] = {}
    rows = []
    for name, entry in tree["generators"].items():
        for factor in dict.fromkeys(factors):
            width = factor * settings.generator(name).width
            say(f"equal_time: {name}, width {width}")
            seconds = step_seconds(settings, name, width, options.steps)
            for minutes in (time for time, each in zip(options.minutes, factors, strict=True) if each == factor):
                timed = entries[f"{name}-{minutes:g}"] = timed_entry(dict(entry), width, minutes, seconds)
                rows.append({"name": name, "width": width, "minutes": minutes, "step_s": round(seconds, 4), "steps": timed["steps"]})
    tree["generators"] = entries
    yaml.dump(tree, options.out)
    if options.json:
        tell(json.dumps(rows))
        return
    tell(*(f"{row['name']}, width {row['width']}: {row['step_s']:.3f} s a step, {row['steps']} in {row['minutes']:g} min" for row in rows))


if __name__ == "__main__":
    main()
