"""Export as a MONAI bundle of the package's networks, U-net and generator: configuration, weights and code."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from angiosynth.errors import InputError
from angiosynth.exports.base import Contents, Export
from angiosynth.exports.generator import shipped_generator, write_generator
from angiosynth.exports.programs import FORMATS, write_program
from angiosynth.exports.volumes import RECEIVERS
from angiosynth.reading import read_text
from angiosynth.release.generator import ShippedGenerator
from angiosynth.release.unet import read_unet
from angiosynth.runtime.output import write_json
from angiosynth.segmentation import unet as network
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.prediction import THRESHOLD, Segmenter

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
MONAI, FIRE = "1.6.1", "0.7.1"  # tested versions
ABOVE = float(np.nextafter(np.float32(THRESHOLD), np.float32(1.0)))  # unlike Segmenter, AsDiscreted includes values equal to its threshold
MOST_SLICES, MOST_SIDES = 4096, 128  # largest batch of the exported program, and largest sides in multiples of 16
USAGE = """This is a MONAI bundle, to be run from this folder: `configs/metadata.json`, `configs/inference.json`, `models/model.safetensors`
and its code in `scripts/`. It segments a scan (with its brain mask, on the same grid) into `predictions/`, in the scan's own orientation:

```sh
python -m monai.bundle run --config_file configs/inference.json --scan scan.nii.gz --brain brain.nii.gz
```

Needs MONAI, pytorch-ignite, nibabel, fire and safetensors. `models/model.pt2` is the same network as a program of torch.export, which
torch alone loads: images (n, 1, x, y) in [-1, 1], -1 outside the brain, sides multiples of 16, to the probability of vessel. The U-net was
trained on the synthetic pairs of the package alone; nothing clinical may be concluded from what it marks."""
DRAWING = """{lead}`configs/generate.json` draws pairs from the generator in `models/generator.pt2`, as pictures in `pairs/`:

```sh
python -m monai.bundle run --config_file configs/generate.json --count 16 --seed 1
```

Verdict of the audit on who holds the generator beside the set: **{verdict}**."""


def write(contents: Contents, folder: Path) -> None:
    """Write the folders configs, models and scripts.

    Raises:
        InputError: the package has neither U-net nor generator, or its generator is not a network.
    """
    segmenter, shipped = read_unet(contents.package), shipped_generator(contents)
    if segmenter is None and shipped is None:
        cure = "its sender adds one by `release --with-unet` or `--with-generator`"
        raise InputError(f"{contents.package}: has no network, which a MONAI bundle is of; {cure}")
    for name in ("configs", "models", "scripts"):
        (folder / name).mkdir()
    (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    if segmenter is not None:
        _write_unet(contents, segmenter, folder)
    if shipped is not None:
        _write_generator(contents, shipped, folder, alone=segmenter is None)


def _write_unet(contents: Contents, segmenter: Segmenter, folder: Path) -> None:
    """Write weights, program, code, metadata.json and inference.json of the U-net."""
    width = read_facts(contents.package / "unet").width
    save_file({name: value.contiguous() for name, value in segmenter.unet.state_dict().items()}, folder / "models" / "model.safetensors")
    sides = {axis: 16 * torch.export.Dim(name, min=1, max=MOST_SIDES) for axis, name in ((2, "x"), (3, "y"))}
    free = {0: torch.export.Dim("n", min=1, max=MOST_SLICES), **sides}
    write_program(Vessels(segmenter), torch.zeros(2, 1, 48, 64), free, folder / "models" / "model.pt2")
    (folder / "scripts" / "unet.py").write_text(inspect.getsource(network), encoding="utf-8")
    (folder / "scripts" / "vessels.py").write_text(read_text(RECEIVERS / "vessels.py"), encoding="utf-8")
    write_json(folder / "configs" / "metadata.json", metadata_of(contents))
    write_json(folder / "configs" / "inference.json", inference_of(contents, width, segmenter.mean, segmenter.deviation))


class Vessels(nn.Module):
    """Network from images (n, 1, x, y) in [-1, 1] to vessel probabilities, with standardisation, like `VesselNet` of the bundle."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.unet, self.mean, self.deviation = segmenter.unet, segmenter.mean, segmenter.deviation

    def forward(self, image: Tensor) -> Tensor:
        standardised = ((image - self.mean) / self.deviation).to(memory_format=torch.channels_last)
        probability: Tensor = self.unet(standardised).float().sigmoid()
        return probability


def _write_generator(contents: Contents, shipped: ShippedGenerator, folder: Path, *, alone: bool) -> None:
    """Write program, code, generator_metadata.json and generate.json of the generator; `alone` also uses its metadata for the bundle."""
    latent = write_generator(shipped, folder / "models")
    (folder / "scripts" / "generate.py").write_text(read_text(RECEIVERS / "generate.py"), encoding="utf-8")
    metadata = generator_metadata_of(contents, latent)
    for name in ("generator_metadata", *(("metadata",) if alone else ())):
        write_json(folder / "configs" / f"{name}.json", metadata)
    program = "$@bundle_root + '/models/generator.pt2'"
    config = {
        "imports": ["$import scripts.generate as drawing"],
        "bundle_root": ".",
        "count": 16,
        "seed": None,
        "output_dir": "$@bundle_root + '/pairs'",
        "program": program,
        "network_def": {"_target_": "scripts.generate.PairNetwork", "model_file": "@program"},
        "run": ["$drawing.generate(@program, @count, @output_dir, True, @seed)"],
    }
    write_json(folder / "configs" / "generate.json", config)


def generator_metadata_of(contents: Contents, latent: int) -> dict[str, Any]:
    """Return the content of configs/generator_metadata.json, by MONAI's schema."""
    card, side = contents.card, contents.card.size
    shared = {"dtype": "float32", "is_patch_data": True}
    noise = {**shared, "type": "tuple", "format": "latent", "num_channels": latent, "spatial_shape": [], "value_range": [-6, 6]}
    pairs = {**shared, "type": "image", "format": "magnitude", "modality": "MR", "num_channels": 2, "spatial_shape": [side, side]}
    channels = {"value_range": [-1, 1], "channel_def": {"0": "image", "1": "vessel label before it is cut"}}
    return {
        **_shared_metadata(contents),
        "required_packages_version": {"fire": FIRE},
        "task": "Drawing of synthetic patches of TOF-MRA slices with vessel labels",
        "description": f"generator of the released set ({card.model})",
        "data_source": f"patches of {card.patients_trained_on} people; verdict of the audit: {card.audit.verdicts.generator}",
        "network_data_format": {"inputs": {"image": noise}, "outputs": {"pred": {**pairs, **channels}}},
    }


def _shared_metadata(contents: Contents) -> dict[str, Any]:
    """Metadata that are common to all networks of a package."""
    card = contents.card
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"released on {card.date}"},
        "monai_version": MONAI,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "name": card.name,
        "authors": card.creator,
        "copyright": f"{card.creator}, licence: {card.licence}",
        "intended_use": "research; nothing clinical may be concluded",
    }


def usage(contents: Contents) -> str:
    """Instructions for the receiver."""
    has_unet, has_generator = ((contents.package / name).is_dir() for name in ("unet", "generator"))
    lead = "" if has_unet else "This is a MONAI bundle, to be run from this folder; it needs MONAI and fire. "
    drawing = DRAWING.format(lead=lead, verdict=contents.card.audit.verdicts.generator) if has_generator else ""
    return "\n\n".join(text for text in (USAGE if has_unet else "", drawing) if text)


def metadata_of(contents: Contents) -> dict[str, Any]:
    """Return the content of configs/metadata.json, by MONAI's schema."""
    card = contents.card
    shared = {"spatial_shape": ["16*n", "16*n"], "dtype": "float32", "num_channels": 1, "is_patch_data": False}
    image = {**shared, "type": "image", "format": "magnitude", "modality": "MR", "value_range": [-1, 1], "channel_def": {"0": "image"}}
    vessel = {**shared, "type": "image", "format": "segmentation", "value_range": [0, 1], "channel_def": {"0": "vessel"}}
    return {
        **_shared_metadata(contents),
        "required_packages_version": {"nibabel": "5.4.2", "pytorch-ignite": "0.5.5", "safetensors": "0.8.0"},
        "task": "Brain vessel segmentation of TOF-MRA, slice by slice",
        "description": "U-net trained on synthetic pairs of a TOF-MRA patch and its vessel label alone",
        "data_source": f"{card.n} synthetic pairs; verdict of their privacy audit: {card.audit.verdicts.set}",
        "data_type": "nibabel",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": vessel}},
    }


def inference_of(contents: Contents, width: int, mean: float, deviation: float) -> dict[str, Any]:
    """Return the content of configs/inference.json: segments one scan with its brain mask; the result is on the grid of the scan."""
    rule = contents.card.intensity
    low, high = (rule.low, rule.high) if rule.rule == "volume" else (0.0, 100.0)
    keys = ["image", "brain"]
    scale = {"_target_": "scripts.vessels.ScaleByBraind", "keys": "image", "brain_key": "brain", "low": low, "high": high}
    before = [
        {"_target_": "LoadImaged", "keys": keys, "ensure_channel_first": True, "image_only": True},
        {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": None},
        scale,
        {"_target_": "ConcatItemsd", "keys": keys, "name": "image", "dim": 0},
    ]
    save = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "vessels", "output_dtype": "$np.uint8"}
    after = [
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": True},
        {"_target_": "AsDiscreted", "keys": "pred", "threshold": ABOVE},
        {**save, "separate_folder": False, "resample": False},
    ]
    return {
        "imports": ["$import numpy as np", "$import torch"],
        "bundle_root": ".",
        "scan": "scan.nii.gz",
        "brain": "brain.nii.gz",
        "output_dir": "$@bundle_root + '/predictions'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "scripts.vessels.VesselNet",
            "width": width,
            "mean": mean,
            "deviation": deviation,
            "weights": "$@bundle_root + '/models/model.safetensors'",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': @scan, 'brain': @brain}]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False, "num_workers": 0},
        "inferer": {"_target_": "scripts.vessels.BrainWindows"},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


EXPORT = Export("monai", "MONAI", write, usage, FORMATS)
