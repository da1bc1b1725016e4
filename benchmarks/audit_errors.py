"""How often an audit calls a harmless set leaky, and how often it finds a leak: many audits where the answer is known.

    python -m benchmarks.audit_errors --cache FOLDER [--seeds 5] [--cohorts 8/4 8/4+12 20/10 40/20] [--kinds KIND ...]
        [--quick] [--jobs N] [--seconds S] [--json]

Heads are drawn once (96, a minute or two) and kept in the cache folder, which may be carried to another machine. For each seed and size
of cohort people are split anew at random into those who were trained on, those who were not and strangers. Harmless sets: real patches
of strangers, and a GAN trained on strangers. Leaky ones: the former with 1%, 3% or 10% copies of training patches, as they lie, turned
and moved, or noisy; a GAN overfitted to a few pairs of one patient; one overfitted for long to a few of three. `gan-few` is trained as
usual on few patients for long, which does not make it repeat their pairs; it counts as neither. `gan-strangers:unet`, `gan-one:unet` and
`gan-three:unet` are those GANs' sets with labels of the U-net on real patches, and the generator's own label maps are searched too, as with
`audit.drawn_labels`: for these also the verdict on who holds the generator is printed. Each set is audited by the code of the
stage `audit`, with the demo's limits and fewer patches looked at.

Results go to FOLDER/results.jsonl, one a line, as they come; a second call goes on with what is missing. Remove the file after a change
of the code. `--seconds` starts no audit after so many. Neither MLflow nor DVC nor Optuna is needed. A GPU is used where there is one;
CUDA_VISIBLE_DEVICES= hides it. The generator that is overfitted to test an audit is trained for a tenth of the usual time, so that most
audits of harmless sets end as inconclusive here: only "over" counts.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from angiosynth.generators.registry import CONTROL
from angiosynth.privacy.audit import Audit
from angiosynth.privacy.audited import AuditData, AuditInputs, RealInputs
from angiosynth.privacy.learned_copies import train_detector
from angiosynth.privacy.references import References
from angiosynth.privacy.verdict import judge
from angiosynth.runtime.progress import progress, say
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.features import unet_features
from angiosynth.segmentation.labelling import PatchLabeller
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import train_segmenter
from angiosynth.settings import UnetSettings
from angiosynth.settings.audit import AuditSettings
from benchmarks.audit_people import PATCHES, People, load_people
from benchmarks.audit_sets import DISTORTERS, SHAPE, SPOILERS, Audited, Cohort, SetMaker, draw_cohort, labelled_anew
from benchmarks.models import RELABELLED

# Training, test and validation patients, and people who are held out without a label.
SIZES: dict[str, tuple[int, ...]] = {"8/4": (8, 4, 2), "8/4+12": (8, 4, 2, 12), "20/10": (20, 10, 4), "40/20": (40, 20, 6)}
SHARES = (0.01, 0.03, 0.1)
SMALL_SHARES = (0.001, 0.002, 0.003, 0.005)  # for the curve of power alone; the least is what `limits.copies` allows
HARMLESS = ("strangers", "gan-strangers")
LEAKY = (*(f"{kind}-{share:g}" for kind in SPOILERS for share in SHARES), "gan-one", "gan-three")
LABELLED = tuple(f"gan-{kind}{RELABELLED}" for kind in ("strangers", "one", "three"))  # U-nets on real patches label these sets
MILD = ("gan-few",)  # it does not repeat its pairs, so it counts as neither
FAINT = tuple(f"{kind}-{share:g}" for kind in SPOILERS for share in SMALL_SHARES)
DISTORTED = tuple(f"{kind}-{share:g}" for kind in DISTORTERS for share in (*SMALL_SHARES, *SHARES))
REPEATS = {"strangers": 4, "gan-strangers": 2}  # audits of a harmless kind for each of a leaky one
QUICK = ("strangers", "gan-strangers", "noisy-0.01", "turned-0.03", "gan-one")
SETTINGS = AuditSettings(checked=100, compared=600, reconstructed=2, reconstruction_steps=10, planted=(0.02,), overfit_steps=30)
UNET = UnetSettings(width=8, steps=40, batch_size=32, learning_rate=0.002, loss="dice_cross_entropy", validations=1, precision="float32")


@dataclass(frozen=True)
class Task:
    """One audit: the kind of set, the size of the cohort, the seed of the split, of the set and of the trainings.

    detector: steps of the learnt copy detector, 0 for none.
    """

    kind: str
    cohort: str
    seed: int
    detector: int = 0

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Task:
        """The task that a result is of."""
        return cls(result["kind"], result["cohort"], result["seed"], result.get("detector", 0))

    @property
    def settings(self) -> AuditSettings:
        return SETTINGS.model_copy(update={"detector_steps": self.detector})


def audit_one(task: Task, cache: Path) -> dict[str, Any]:
    """Make the set of a task, audit it, and return its verdicts with the measures that passed their limits."""
    start = time.perf_counter()
    split = split_of(task.cohort, task.seed, task.detector, cache)
    with TemporaryDirectory(prefix="angiosynth-audit-") as folder:
        scratch = Path(folder)
        audited = set_of(task.kind.removesuffix(RELABELLED), SetMaker(split.people, split.cohort, task.seed, scratch / "gan"))
        if task.kind.endswith(RELABELLED):
            audited = labelled_anew(audited, PatchLabeller((split.segmenter,)))
        data = AuditData(_inputs(split.real, audited, scratch), split.references)
        numbers = Audit(data, task.settings).measured(f"{task.kind} {task.cohort} {task.seed}")
        result = judge(numbers, SETTINGS.limits)
    measures = {
        finding["name"]: {"value": round(finding["value"], 4), "p": finding["p"], "state": finding["state"]}
        for finding in result["findings"]
    }
    return {**asdict(task), **result["verdicts"], "controls": result["controls"], "measures": measures, "s": time.perf_counter() - start}


@dataclass(frozen=True)
class Split:
    """The people of one seed and size of cohort, and what all audits of sets beside them share."""

    people: People
    cohort: Cohort
    real: RealInputs
    references: References
    segmenter: Segmenter


@lru_cache(maxsize=1)
def split_of(cohort: str, seed: int, detector: int, cache: Path) -> Split:
    """Split the people and train the U-net of real patches; kept for the next audit, as tasks come split by split.

    The copy detector depends on nothing of the split, so it is trained once.
    """
    people = load_people(cache, 1)
    drawn = draw_cohort(people, SIZES[cohort], seed)
    training, test, validation = (people.patches_of(part, cache) for part in (drawn.training, drawn.test, drawn.validation))
    segmenter = train_segmenter(UNET.model_copy(update={"seed": seed}), training, None, NullRecorder()).segmenter
    real = RealInputs(
        training=training,
        test=test,
        validation=validation,
        control=CONTROL(SHAPE, SETTINGS.overfit_steps, SETTINGS.seed),
        features=lambda images: unet_features(segmenter, images),
        scratch=cache,
        unlabelled=people.patches_of(drawn.held_out, cache) if drawn.held_out else None,
    )
    learnt = {"copy detector": detector_of(detector, cache)} if detector else {}
    return Split(people, drawn, real, References(learnt), segmenter)


def detector_of(steps: int, cache: Path) -> dict[str, Any]:
    """Weights of the copy detector of the benchmark's patches, kept in the cache folder."""
    path = cache / f"detector-{steps}.npz"
    if not path.exists():
        weights: dict[str, Any] = dict(train_detector(PATCHES.size, steps, SETTINGS.seed))
        np.savez(path, **weights)
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def set_of(kind: str, maker: SetMaker) -> Audited:
    """The set of a kind."""
    if kind == "strangers":
        return maker.strangers()
    name, _, rest = kind.rpartition("-")
    return maker.gan(rest) if name == "gan" else maker.copies(name, float(rest))


def _inputs(real: RealInputs, audited: Audited, scratch: Path) -> AuditInputs:
    def no_checkpoint(step: int) -> Any:
        raise AssertionError("no probe, so no checkpoint is asked for")

    return AuditInputs(
        **{**vars(real), "scratch": scratch},
        synthetic=audited.pairs,
        latent_space=audited.latent_space,
        critic=audited.critic,
        step=0,
        probes=(),
        at_step=no_checkpoint,
        drawn_label=audited.drawn_label,
    )


def run(tasks: Iterable[Task], cache: Path, jobs: int, seconds: float) -> list[dict[str, Any]]:
    """Run the tasks that have no result yet, side by side, and return all results."""
    path = cache / "results.jsonl"
    results = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    done = {Task.of(one) for one in results}
    missing = [task for task in tasks if task not in done]
    wanted, end = set(tasks), time.monotonic() + seconds
    with path.open("a") as stream, ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for result in progress(_side_by_side(pool, missing, cache, jobs, end), "audits", len(missing)):
            results.append(result)
            stream.write(json.dumps(result) + "\n")
            stream.flush()
    return [one for one in results if Task.of(one) in wanted]


def _side_by_side(pool: ProcessPoolExecutor, tasks: list[Task], cache: Path, jobs: int, end: float) -> Iterable[dict[str, Any]]:
    """Results as they come. No more tasks are waiting than there are processes, so that none starts after the end."""
    waiting, running = list(tasks), set[Future[dict[str, Any]]]()
    while running or (waiting and time.monotonic() < end):
        while waiting and len(running) < jobs and time.monotonic() < end:
            running.add(pool.submit(audit_one, waiting.pop(0), cache))
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for one in finished:
            # What failed has no result: the next call tries it again.
            if fault := one.exception():
                say(f"an audit failed: {fault!r}")
            else:
                yield one.result()


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Error rates: of harmless sets called "over", of leaky ones called so, for all and for each kind and cohort."""
    harmless = [one for one in results if one["kind"].removesuffix(RELABELLED) in HARMLESS]
    leaky = [one for one in results if one["kind"].removesuffix(RELABELLED) not in (*HARMLESS, *MILD)]
    cells: dict[str, list[bool]] = defaultdict(list)
    measures: dict[str, int] = defaultdict(int)
    for one in results:
        cells[f"{one['kind']} {one['cohort']}"].append(one["set"] == "over")
        if one["kind"].endswith(RELABELLED):
            cells[f"{one['kind']}, generator {one['cohort']}"].append(one["generator"] == "over")
    for one in harmless:
        for name, measure in one["measures"].items():
            measures[name] += measure["state"] == "over"
    return {
        "false_over": _share(harmless, "over"),
        "found_leaks": _share(leaky, "over"),
        "harmless": len(harmless),
        "leaky": len(leaky),
        "harmless_within": _share(harmless, "within"),
        "over_by_cell": {name: f"{sum(values)} of {len(values)}" for name, values in sorted(cells.items())},
        "false_over_by_measure": {name: count for name, count in measures.items() if count},
    }


def tasks_of(kinds: Iterable[str], cohorts: Iterable[str], seeds: int, detector: int = 0) -> list[Task]:
    """By seed first, so that a run that is stopped has some of every kind; of a seed split by split, which an audit's process keeps."""
    tasks: list[Task] = []
    for seed in range(seeds):
        numbered = [(kind, REPEATS.get(kind, 1) * seed + number) for kind in kinds for number in range(1, REPEATS.get(kind, 1) + 1)]
        for cohort in cohorts:
            tasks += [Task(kind, cohort, number, detector) for kind, number in sorted(numbered, key=lambda one: one[1])]
    return tasks


def _share(results: list[dict[str, Any]], verdict: str) -> float | None:
    return round(float(np.mean([one["set"] == verdict for one in results])), 4) if results else None


def table(figures: Mapping[str, Any], cohorts: list[str], kinds: Iterable[str]) -> list[str]:
    """A row for each kind of set: how many of its audits said "over", by cohort."""
    cells = figures["over_by_cell"]
    names = [name for kind in kinds for name in ((kind, f"{kind}, generator") if kind.endswith(RELABELLED) else (kind,))]
    rows = [f"| {name} | {' | '.join(cells.get(f'{name} {cohort}', '-') for cohort in cohorts)} |" for name in names]
    return [f"| called over | {' | '.join(cohorts)} |", f"|---|{'---:|' * len(cohorts)}", *rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cohorts", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument(
        "--kinds", nargs="+", choices=(*HARMLESS, *LEAKY, *LABELLED, *MILD, *FAINT, *DISTORTED), default=[*HARMLESS, *LEAKY]
    )
    parser.add_argument("--quick", action="store_true", help="two seeds of a few kinds in the first cohort")
    parser.add_argument("--detector", type=int, default=0, metavar="STEPS", help="with the learnt copy detector, trained for so many steps")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes that are started read it; together they take all cores
    load_people(options.cache, options.jobs)
    kinds, cohorts, seeds = (QUICK, options.cohorts[:1], 2) if options.quick else (options.kinds, options.cohorts, options.seeds)
    figures = summary(run(tasks_of(kinds, cohorts, seeds, options.detector), options.cache, options.jobs, options.seconds))
    print("\n".join(table(figures, cohorts, kinds)))
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
