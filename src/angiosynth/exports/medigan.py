"""Export as a model package of medigan: the generator as an exported program, a function that draws from it, and an entry of global.json.

medigan runs in a folder with config/global.json and models/ID/PACKAGE, which is the layout of the export.
"""

from __future__ import annotations

import re
from pathlib import Path
from string import Template
from typing import Any

from angiosynth.errors import InputError
from angiosynth.exports.base import Contents, Export
from angiosynth.exports.generator import PROGRAM, shipped_generator, write_generator
from angiosynth.exports.programs import FORMATS
from angiosynth.exports.volumes import RECEIVERS
from angiosynth.reading import read_text
from angiosynth.runtime.output import write_json

NUMBER = "00000"  # medigan assigns the number when a model is contributed
USAGE = Template("""The generator of the set, as medigan takes models, and by itself. `generate` needs torch and numpy alone:

```sh
python models/$id/$id/__init__.py 100 pairs --seed 1
```

By medigan, typed in this folder, which has its `config/global.json` and `models/`:

```sh
python -c "from medigan import Generators; Generators().generate('$id', num_samples=100, output_path='pairs')"
```

Images are 8-bit PNG, 0..255 for [-1, 1]; labels are 0 and 255; anterior is up. To contribute it, zip `models/$id/$id`, upload the archive,
and put its address into `package_link` of the entry. torch.export loads $program: run it only from a sender whom you trust.

**Verdict of the audit on who holds the generator beside the set: $verdict.**""")


def write(contents: Contents, folder: Path) -> None:
    """Write models/ID/ID with __init__.py, generator.pt2 and generator.json, and config/global.json.

    Raises:
        InputError: the package has no generator, or its generator is not a network.
    """
    shipped = shipped_generator(contents)
    if shipped is None:
        raise InputError(f"{contents.package}: has no generator, which medigan is for; its sender adds it by `release --with-generator`")
    name = model_id(contents)
    place = folder / "models" / name / name
    place.mkdir(parents=True)
    latent = write_generator(shipped, place)
    (place / "__init__.py").write_text(read_text(RECEIVERS / "generate.py"), encoding="utf-8")
    (folder / "config").mkdir()
    write_json(folder / "config" / "global.json", {name: entry_of(contents, latent)})


def model_id(contents: Contents) -> str:
    """Return the model id in medigan's form NUMBER_TYPE_MODALITY_REGION_SAMPLE."""
    kind = re.sub(r"[^A-Z0-9-]", "-", contents.card.model.upper())
    return f"{NUMBER}_{kind}_TOF-MRA_BRAIN-VESSELS_PATCH"


def entry_of(contents: Contents, latent: int) -> dict[str, Any]:
    """Return the entry of the model in global.json: execution, search terms, origin."""
    card, name = contents.card, model_id(contents)
    base = ["model_file", "num_samples", "output_path", "save_images"]
    execution = {
        "package_name": name,
        "package_link": f"models/{name}/{name}",
        "model_name": PROGRAM.partition(".")[0],
        "extension": ".pt2",
        "image_size": [card.size, card.size, 2],
        "dependencies": ["numpy", "torch"],
        "generate_method": {
            "name": "generate",
            "args": {"base": base, "custom": {"seed": None, "threshold": None}},
            "input_latent_vector_size": latent,
        },
    }
    selection = {
        "performance": {},
        "use_cases": ["segmentation"],
        "organ": ["brain", "brain vessels"],
        "modality": ["MRI", "MR angiography", "TOF-MRA"],
        "vendors": [],
        "centres": [],
        "function": ["noise to image and mask", "image generation", "unconditional generation", "data augmentation"],
        "condition": [],
        "dataset": [],
        "augmentations": [],
        "generates": ["patches of TOF-MRA slices", "vessel masks"],
        "height": card.size,
        "width": card.size,
        "depth": 2,
        "type": card.model,
        "license": card.licence,
        "dataset_type": "private",
        "privacy_preservation": f"audited; verdict on generator and set: {card.audit.verdicts.generator}",
        "tags": ["MRA", "TOF-MRA", "brain", "vessels", "segmentation"],
        "year": card.date[:4],
    }
    description = {
        "title": f"{card.name}: TOF-MRA patches with vessel masks",
        "provided_date": card.date,
        "trained_date": None,
        "provided_after_epoch": None,
        "version": None,
        "publication": card.url or None,
        "doi": [],
        "inputs": ["seed: int, default None, others each time", "threshold: float, default None, that of the released set"],
        "comment": f"Draws {card.size}x{card.size} patches of axial TOF-MRA slices with vessel masks; trained by {card.creator}.",
    }
    return {"execution": execution, "selection": selection, "description": description}


def usage(contents: Contents) -> str:
    """Instructions for the receiver."""
    return USAGE.substitute(id=model_id(contents), program=PROGRAM, verdict=contents.card.audit.verdicts.generator)


EXPORT = Export("medigan", "medigan", write, usage, FORMATS)
