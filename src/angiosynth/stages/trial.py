"""One trial of a sweep: the same stage functions with other settings, in a scratch folder, on validation patients only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from angiosynth.experiments.sweep import SweepResult, TrialScore, run_sweep
from angiosynth.experiments.tracking import DataSource, project_root
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.settings import Settings
from angiosynth.stages.gan import fit_gan, synthesize
from angiosynth.stages.unet import fit_unet
from angiosynth.stages.workspace import Workspace, data_source


def sweep(settings: Settings, home: Workspace, model: str, trials: int) -> SweepResult:
    """Add trials to the model's study."""
    data: DataSource = data_source(home.patches("site-a"))
    return run_sweep(settings, model, trials, trial_of(model), project_root(), data=data)


def trial_of(model: str) -> Callable[[Settings, Path, str, int], TrialScore]:
    """What the sweep calls for each trial: train the GAN, draw pairs, train a U-net on them.

    Test patients are in no way part of it: neither stage reads them.
    """

    def trial(settings: Settings, scratch: Path, run_id: str, number: int) -> TrialScore:
        del run_id, number
        home = Workspace(root=scratch)
        fit_gan(settings, home, model, NullRecorder())
        synthesize(settings, home, model)
        scores = fit_unet(settings, home, model, NullRecorder()).scores
        return TrialScore(scores["val_dsc"], scores["val_hd95_mm"])

    return trial


def result_table(result: SweepResult) -> str:
    """The study as lines of text, its Pareto front starred."""
    lines = [f"study {result.study}: {len(result.trials)} trials, tables in {result.folder.name}/"]
    best = {row.number for row in result.front}
    for row in result.trials:
        scores = f"DSC {row.dsc:.3f}, 95HD {row.hd95_mm:.2f} mm" if row.dsc is not None and row.hd95_mm is not None else row.reason
        values = ", ".join(f"{name} {value:.4g}" for name, value in row.params.items())
        lines.append(f"{'*' if row.number in best else ' '} {row.number:>3} {row.state}: {scores} ({values})")
    return "\n".join(lines)
