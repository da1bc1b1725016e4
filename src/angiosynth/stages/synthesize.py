"""Stage synthesize: draw the labelled synthetic set of one generator."""

from __future__ import annotations

from angiosynth.compute.threads import use_threads
from angiosynth.data.patches import open_patch_set
from angiosynth.data.split import load_split
from angiosynth.errors import InputError
from angiosynth.generators.base import PROMISE
from angiosynth.generators.storage import load_sampler
from angiosynth.generators.synthesis import write_synthetic_set
from angiosynth.project.workspace import Workspace, seeds_of, training_digest
from angiosynth.report.figures import SHEET, contact_sheet
from angiosynth.runtime.output import read_json, whole_folder, write_json
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.labelling import PatchLabeller
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.settings import REAL, Settings, digest


def synthesize(settings: Settings, home: Workspace, model: str) -> None:
    """Draw the synthetic set of one generator with its card and a contact sheet.

    Raises:
        InputError: the generator is missing or damaged, or the U-net on real patches, if it is to label the set.
    """
    use_threads(settings.threads)
    real, generator = home.real_patches(settings, load_split(home.splits, settings.cohort.source).train), settings.generator(model)
    sampler = load_sampler(home.generator(model), generator, real.size)
    entries = {"model": model, "settings_digest": digest(generator, settings.synthesis)}
    entries |= {key: value for key, value in read_json(home.generator(model) / "generator.json").items() if key == PROMISE}
    relabel = _labeller(settings, home).labels if settings.labelled_by_unet(model) else None
    with whole_folder(home.synthetic(model)) as folder:
        write_json(folder / "card.json", write_synthetic_set(sampler, settings.synthesis, real, entries, folder, relabel))
        drawn = open_patch_set(folder)
        shown = min(SHEET, len(drawn))
        contact_sheet(drawn.image[:shown], drawn.label[:shown], folder / "contact.png")


def _labeller(settings: Settings, home: Workspace) -> PatchLabeller:
    """Load the U-nets on real patches, of all seeds.

    Raises:
        InputError: a file is missing or damaged, or a U-net was trained on other people or patches than the present ones.
    """
    folders, present = seeds_of(home.labelling_unet).values(), training_digest(settings, home, REAL)
    for folder in folders:
        if read_facts(folder).patches_digest != present:
            raise InputError(
                f"{folder}: was not trained on the present patches of the training patients; run `dvc repro train-unet` to train it"
            )
    return PatchLabeller(tuple(load_segmenter(folder) for folder in folders))
