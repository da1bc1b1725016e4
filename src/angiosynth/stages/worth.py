"""Stages worth and worth-synthetic: U-nets on the real patches of subsets of the source's patients, alone and with a synthetic set."""

from __future__ import annotations

from angiosynth.compute.threads import use_threads
from angiosynth.evaluation.patients import SCRATCH, write_transfer
from angiosynth.project.facts import unet_settings
from angiosynth.project.preflight import preflight
from angiosynth.project.workspace import Workspace, chosen_settings
from angiosynth.runtime.checkpoint import Checkpoints
from angiosynth.runtime.progress import say
from angiosynth.settings import REAL, Settings
from angiosynth.stages.transfer import SubsetTrainings, train_on_subsets


def worth(settings: Settings, home: Workspace, data: str) -> None:
    """Write metrics/worth/<data>.csv: for each subset of patients the scores of a U-net with the same settings as that of all real patches.

    For `real` the U-nets learn from the patches of the subset, for a generator from its set and these patches together. Trainings that an
    earlier, interrupted run has finished are not repeated.
    """
    use_threads(settings.threads)
    target, alone = home.metrics / "worth" / f"{data}.csv", data == REAL
    if not settings.worth.patients or not (alone or settings.worth.together):
        say(f"worth {data}: not asked for in section worth of params.yaml, the table stays empty")
        write_transfer(target, [])
        return
    preflight(settings, home, ("unet",))
    settings = chosen_settings(settings, home)
    site = settings.cohort.source
    tracked = unet_settings(settings, data) | {"worth": settings.worth}
    stage, title = ("worth", f"worth {site}") if alone else (f"worth-synthetic@{data}", f"worth {site} {data}")
    joined = None if alone else home.synthetic(data)
    trainings = SubsetTrainings(stage, "unet", title, site, SCRATCH, settings.worth, settings.unet, tracked, joined)
    rows, folder = train_on_subsets(settings, home, trainings)
    write_transfer(target, rows)
    Checkpoints(folder).clear()  # only after everything is written, so that a killed stage can be resumed until then
