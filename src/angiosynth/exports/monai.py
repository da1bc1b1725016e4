"""A MONAI bundle of the U-net that came with a package: configuration, weights as safetensors, and the code that they need."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from angiosynth.errors import InputError
from angiosynth.exports.base import Contents, Export
from angiosynth.exports.volumes import RECEIVERS
from angiosynth.reading import read_text
from angiosynth.release.unet import read_unet
from angiosynth.runtime.output import write_json
from angiosynth.segmentation import unet as network
from angiosynth.segmentation.facts import read_facts
from angiosynth.segmentation.prediction import THRESHOLD

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
MONAI = "1.6.1"  # tried with
ABOVE = float(np.nextafter(np.float32(THRESHOLD), np.float32(1.0)))  # AsDiscreted takes values equal to its threshold, a Segmenter does not
USAGE = """This is a MONAI bundle: `configs/metadata.json`, `configs/inference.json`, `models/model.safetensors` and its code in `scripts/`,
to be run from this folder. It segments a scan (with its brain mask, on the same grid) into `predictions/`, in the scan's own orientation:

```sh
python -m monai.bundle run --config_file configs/inference.json --scan scan.nii.gz --brain brain.nii.gz
```

Needs MONAI, pytorch-ignite, nibabel, fire and safetensors. The U-net was trained on the synthetic pairs of the package alone; nothing
clinical may be concluded from what it marks."""


def write(contents: Contents, folder: Path) -> None:
    """configs, models, scripts.

    Raises:
        InputError: the package has no U-net, or one of intensity rule "patch", which a volume cannot follow.
    """
    segmenter = read_unet(contents.package)
    if segmenter is None:
        raise InputError(f"{contents.package}: has no U-net, which a MONAI bundle is of; its sender adds it by `release --with-unet`")
    width = read_facts(contents.package / "unet").width
    for name in ("configs", "models", "scripts"):
        (folder / name).mkdir()
    save_file({name: value.contiguous() for name, value in segmenter.unet.state_dict().items()}, folder / "models" / "model.safetensors")
    (folder / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    (folder / "scripts" / "unet.py").write_text(inspect.getsource(network), encoding="utf-8")
    (folder / "scripts" / "vessels.py").write_text(read_text(RECEIVERS / "vessels.py"), encoding="utf-8")
    write_json(folder / "configs" / "metadata.json", metadata_of(contents))
    write_json(folder / "configs" / "inference.json", inference_of(contents, width, segmenter.mean, segmenter.deviation))


def metadata_of(contents: Contents) -> dict[str, Any]:
    """configs/metadata.json, by MONAI's schema."""
    card = contents.card
    shared = {"spatial_shape": ["16*n", "16*n"], "dtype": "float32", "num_channels": 1, "is_patch_data": False}
    image = {**shared, "type": "image", "format": "magnitude", "modality": "MR", "value_range": [-1, 1], "channel_def": {"0": "image"}}
    vessel = {**shared, "type": "image", "format": "segmentation", "value_range": [0, 1], "channel_def": {"0": "vessel"}}
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": f"released on {card.date}"},
        "monai_version": MONAI,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"nibabel": "5.4.2", "pytorch-ignite": "0.5.5", "safetensors": "0.8.0"},
        "name": card.name,
        "task": "Brain vessel segmentation of TOF-MRA, slice by slice",
        "description": "U-net trained on synthetic pairs of a TOF-MRA patch and its vessel label alone",
        "authors": card.creator,
        "copyright": f"{card.creator}, licence: {card.licence}",
        "data_source": f"{card.n} synthetic pairs; verdict of their privacy audit: {card.audit.verdicts.set}",
        "data_type": "nibabel",
        "intended_use": "research; nothing clinical may be concluded",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": vessel}},
    }


def inference_of(contents: Contents, width: int, mean: float, deviation: float) -> dict[str, Any]:
    """configs/inference.json: one scan with its brain mask, to a mask of vessels on the scan's grid."""
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


EXPORT = Export("monai", "MONAI", write, lambda contents: USAGE)
