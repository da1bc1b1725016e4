"""Measure training steps at the paper's size: seconds, memory, and the share of the processor's matrix product rate.

    python -m benchmarks.paper [--params profiles/paper.yaml] [--steps 2] [--networks wgan-gp-sn unet] [--json]

For each generator of the settings, the U-net, transfer and probe it runs one warm-up step and then `--steps` steps on blank patches. The
operations of a step are those of its convolutions and matrix products, forward and backward, as counted by torch. The rate is that of
products of 4096x4096 matrices in the step's precision. On a GPU 200 steps take a minute; on two cores a single step of a GAN takes
minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from angiosynth.compute.precision import bfloat16_is_native, device
from angiosynth.compute.threads import use_threads
from angiosynth.generators.graphs import WARM_UP, uses_graphs
from angiosynth.generators.registry import family_of
from angiosynth.project.preflight import blank_unet_step
from angiosynth.runtime.memory import keep_freed_memory
from angiosynth.runtime.progress import say
from angiosynth.settings import Settings, load_settings

MATRIX = 4096
UNETS = ("unet", "transfer", "probe")
Step = Callable[[], object]


class Operations(TorchDispatchMode):
    """Count multiplications and additions of convolutions and matrix products, by torch's formulas.

    torch's FlopCounterMode also attributes operations to modules, which fails if a loss contains a gradient, as WGAN-GP's does.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


def networks(settings: Settings) -> Iterator[tuple[str, str, Callable[[], Step]]]:
    """Yield name, precision and a builder of the training step of each network."""
    for name, generator in settings.generators.items():
        yield name, generator.precision, partial(family_of(generator).blank_training, generator, settings.patches.size)
    for name in UNETS:
        yield name, settings.unet.precision, partial(blank_unet_step, settings, name)


def warm_up(step: Step) -> None:
    """Run steps that are not measured: on a GPU until all graphs are recorded, also if only every fourth step has penalties; else one."""
    for _ in range(4 * (WARM_UP + 1) if uses_graphs(device()) else 1):
        step()


def seconds_of(step: Step, count: int) -> float:
    """Return the mean seconds of a call, over `count` calls."""
    finish()
    begun = time.perf_counter()
    for _ in range(count):
        step()
    finish()
    return (time.perf_counter() - begun) / count


def finish() -> None:
    """Wait until the GPU has finished all queued operations."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def matrix_rate(kind: torch.dtype) -> float:
    """Measure the operations per second of matrix products."""
    factors = [torch.randn(MATRIX, MATRIX).to(device(), kind) for _ in range(2)]
    count = 50 if device().type == "cuda" else 2
    return 2 * MATRIX**3 / min(seconds_of(lambda: factors[0] @ factors[1], count) for _ in range(3))


def peak_gb() -> float:
    """Return the peak memory in GB: the GPU's since the last call, or without a GPU the process's since its start."""
    if device().type == "cuda":
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak / 1e9
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return float(line.split()[1]) / 1e6


def measured(build: Callable[[], Step], count: int, rate: float) -> dict[str, float]:
    """Measure one network: a step's seconds, operations and share of the rate, and the peak memory."""
    step = build()
    peak_gb()
    with Operations() as operations:
        step()
    if uses_graphs(device()):
        warm_up(step)
    seconds = seconds_of(step, count)
    row = {"step_s": seconds, "tflop": operations.total / 1e12, "share": operations.total / seconds / rate, "peak_gb": peak_gb()}
    del step
    gc.collect()
    return row


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("profiles/paper.yaml"))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--networks", nargs="+", help="generators, unet, transfer, probe; by default all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    keep_freed_memory()
    settings = load_settings(options.params)
    use_threads(settings.threads)
    native = bfloat16_is_native(device())
    rates = {kind: matrix_rate(kind) for kind in ([torch.float32, torch.bfloat16] if native else [torch.float32])}
    rows = {}
    for name, precision, build in networks(settings):
        if options.networks and name not in options.networks:
            continue
        say(f"paper: {name}")
        half = precision == "bfloat16" or (precision == "auto" and native)
        rows[name] = measured(build, options.steps, rates.get(torch.bfloat16 if half else torch.float32, rates[torch.float32]))
    where = torch.cuda.get_device_name() if device().type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{where}; matrix products: {', '.join(f'{str(kind)[6:]} {rate / 1e12:.2f} TFLOP/s' for kind, rate in rates.items())}")
    print(f"{'network':<14}{'step, s':>9}{'TFLOP':>9}{'share':>8}{'GB':>7}")
    for name, row in rows.items():
        print(f"{name:<14}{row['step_s']:>9.3f}{row['tflop']:>9.3f}{row['share']:>8.0%}{row['peak_gb']:>7.1f}")
    if options.json:
        print(json.dumps({"processor": where, "rates": {str(kind)[6:]: rate for kind, rate in rates.items()}, "networks": rows}))


if __name__ == "__main__":
    main()
