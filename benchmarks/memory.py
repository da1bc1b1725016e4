"""Compare the memory estimates of project/preflight.py with measurements: python benchmarks/memory.py [--json] [--profile demo].

Each section of the profile is trained for a few steps in a separate process, with its batch size and with four times its batch size. The
growth of the process's peak memory is compared with the estimate.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STEPS = 3


def settings_of(profile: str, section: str, times: int) -> Any:
    """Read the profile and multiply the batch size of a section by `times`."""
    from angiosynth.settings import Settings, load_settings

    tree = load_settings(ROOT / "profiles" / f"{profile}.yaml").model_dump()
    node = tree
    for name in section.split("."):
        node = node[name]
    node["batch_size"] *= times
    return Settings.model_validate(tree)


def train(settings: Any, section: str) -> int:
    """Train a few steps and return the growth of the process's peak memory in bytes."""
    import torch

    from angiosynth.data.patches import PatchSet
    from angiosynth.generators.registry import family_of
    from angiosynth.runtime.checkpoint import Checkpoints
    from angiosynth.runtime.memory import keep_freed_memory
    from angiosynth.runtime.recorder import NullRecorder
    from angiosynth.segmentation.training import train_segmenter, with_values_of
    from angiosynth.settings import UnetSettings

    keep_freed_memory()
    torch.nn.functional.conv2d(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 3, 3))  # memory that libraries allocate once
    rng = np.random.default_rng(1)
    shape = (64, settings.patches.size, settings.patches.size)
    image, label = rng.integers(0, 256, shape, np.uint8), rng.integers(0, 2, shape, np.uint8)
    patches = PatchSet(image, label, np.full(len(image), ""), np.arange(len(image)), {}, Path())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if section.startswith("generators."):
        name = section.removeprefix("generators.")
        few = {"steps": STEPS, "checkpoint_every": STEPS, "checkpoint_choice": "last"}
        generator = settings.generator(name).model_copy(update=few)
        with tempfile.TemporaryDirectory() as folder:
            family_of(generator).train(name, generator, patches, lambda *_: {}, Checkpoints(Path(folder)), NullRecorder())
    else:
        unet = settings.unet
        if section != "unet":
            unet = with_values_of(getattr(settings, section), UnetSettings(steps=STEPS) if section == "probe" else unet)
        train_segmenter(unet.model_copy(update={"steps": STEPS}), patches, None, NullRecorder())
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", default="demo")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        section, times = options.child
        print(train(settings_of(options.profile, section, int(times)), section))
        return
    from angiosynth.project.preflight import all_sections, memory_needs
    from angiosynth.settings import load_settings

    rows = []
    for section in all_sections(load_settings(ROOT / "profiles" / f"{options.profile}.yaml")):
        for times in (1, 4):
            estimate = memory_needs(settings_of(options.profile, section, times))[section].peak
            command = [sys.executable, __file__, "--profile", options.profile, "--child", section, str(times)]
            measured = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            rows.append({"section": section, "batch": times, "estimate": estimate, "measured": measured})
            print(f"{section:<15} x{times}  estimated {estimate / 1e6:7.0f} MB  measured {measured / 1e6:7.0f} MB", flush=True)
    if options.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
