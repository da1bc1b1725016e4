"""Stage worth: train U-nets on the real patches of subsets of the source's patients, for the worth of synthetic sets."""

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


def worth(settings: Settings, home: Workspace) -> None:
    """Write metrics/worth.csv: for each subset of patients the scores of a U-net with the same settings as that of all real patches.

    Trainings that an earlier, interrupted run has finished are not repeated.
    """
    use_threads(settings.threads)
    target = home.metrics / "worth.csv"
    if not settings.worth.patients:
        say("worth: params.yaml names no number of patients, the table stays empty")
        write_transfer(target, [])
        return
    preflight(settings, home, ("unet",))
    settings = chosen_settings(settings, home)
    site = settings.cohort.source
    tracked = unet_settings(settings, REAL) | {"worth": settings.worth}
    trainings = SubsetTrainings("worth", "unet", f"worth {site}", site, SCRATCH, settings.worth, settings.unet, tracked)
    rows, folder = train_on_subsets(settings, home, trainings)
    write_transfer(target, rows)
    Checkpoints(folder).clear()  # only after everything is written, so that a killed stage can be resumed until then
