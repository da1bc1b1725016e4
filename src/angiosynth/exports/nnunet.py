"""Export as a raw dataset of nnU-Net v2, one case per patch.

A case is a volume of one slice, so nnU-Net plans only configuration 2d. Images are in [0, 1] with 0 for air, because nnU-Net crops to
non-zero voxels and pads with zeros. The channel is "noNorm": normalisation per patch would destroy the common scale of a volume.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from angiosynth.exports.base import Contents, Export, pair_name
from angiosynth.exports.volumes import copy_program, unit_range, write_slice
from angiosynth.runtime.output import write_json
from angiosynth.runtime.progress import progress

NUMBER = 501  # of the dataset; numbers of nnU-Net's challenges end at 220
PROGRAM = "scale_scan.py"
USAGE = Template("""nnU-Net v2 finds the data set where its raw data are: set `nnUNet_raw` to this folder, or move `$dataset` there (with
another number, if $number is taken). One case is one patch, so there is configuration `2d` alone.

```sh
nnUNetv2_plan_and_preprocess -d $number --verify_dataset_integrity -c 2d
nnUNetv2_train $number 2d all
python $program scan.nii.gz --brain brain.nii.gz -o scans/head_0000.nii.gz
nnUNetv2_predict -d $number -c 2d -f all -i scans -o vessels
```

`$program` (numpy and nibabel) scales a real scan by the rule of this set, its brain alone, and turns it to RAS+: do so with every scan that
a network trained on these pairs sees, and with those that it is fine-tuned on (`--label` turns their labels likewise).""")


def write(contents: Contents, folder: Path) -> None:
    """Write DatasetNNN_NAME with imagesTr, labelsTr and dataset.json, and the program that scales real scans by the same rule."""
    dataset = folder / dataset_name(contents)
    for subfolder in ("imagesTr", "labelsTr"):
        (dataset / subfolder).mkdir(parents=True)
    x, y, z = contents.spacing_mm
    # nnU-Net treats the axis with the largest spacing as the slice axis, and the first among equals.
    spacing = (x, y, max(x, y, z))
    pairs = contents.pairs
    for number in progress(range(len(pairs)), "writing cases", len(pairs)):
        case = f"pair-{pair_name(number)}"
        write_slice(dataset / "imagesTr" / f"{case}_0000.nii.gz", unit_range(pairs.image[number]), spacing)
        write_slice(dataset / "labelsTr" / f"{case}.nii.gz", pairs.label[number], spacing)
    card = contents.card
    description = {
        "channel_names": {"0": "noNorm"},
        "labels": {"background": 0, "vessel": 1},
        "numTraining": len(pairs),
        "file_ending": ".nii.gz",
        "name": card.name,
        "description": f"synthetic pairs of a TOF-MRA patch and its vessel label; verdict of the privacy audit: {card.audit.verdicts.set}",
        "licence": card.licence,
        "release": card.date,
    }
    write_json(dataset / "dataset.json", description)
    copy_program(PROGRAM, folder)


def dataset_name(contents: Contents) -> str:
    """Return the name DatasetNNN_NAME of letters, digits, dashes and underscores."""
    return f"Dataset{NUMBER}_{re.sub(r'[^A-Za-z0-9_-]', '-', contents.card.name)}"


def usage(contents: Contents) -> str:
    """Instructions for the receiver."""
    return USAGE.substitute(dataset=dataset_name(contents), number=NUMBER, program=PROGRAM)


EXPORT = Export("nnunet", "nnU-Net v2", write, usage)
