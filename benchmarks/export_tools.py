"""Environments with tools that tests run beside the project's own: the readers of exports, for tests/exports/test_real_tools.py (nnU-Net,
Hugging Face datasets, MONAI, medigan, the BIDS validator), DVC with its remotes and an S3 store, for tests/test_remotes.py, and
Anonymeter, for benchmarks/anonymeter_check.py.

    python -m benchmarks.export_tools FOLDER
    ANGIOSYNTH_TOOLS=FOLDER python -m pytest tests/exports/test_real_tools.py tests/test_remotes.py

nnU-Net's, MONAI's and medigan's have torch (a GB on processors, more with CUDA). PIP_INDEX_URL and the like are pip's own.
"""

from __future__ import annotations

import argparse
import subprocess
import venv
from importlib import metadata
from pathlib import Path

# The versions that docs/exports.md and docs/team.md name.
TOOLS = {
    "nnunet": ("torch==2.13.0", "nnunetv2==2.8.1"),
    "huggingface": ("datasets==5.2.0", "mlcroissant==1.1.1", "pillow==13.0.0"),
    "monai": ("torch==2.13.0", "monai==1.6.1", "pytorch-ignite==0.5.5", "nibabel==5.4.2", "fire==0.7.1", "safetensors==0.8.0"),
    "medigan": ("torch==2.13.0", "medigan==1.0.0", "setuptools==80.9.0"),  # which has the pkg_resources that medigan imports
    "bids": ("bids-validator-deno==3.0.2",),
    "remotes": (f"dvc=={metadata.version('dvc')}", "dvc-ssh==4.3.0", "dvc-s3==3.3.0"),
    "anonymeter": ("anonymeter==1.1.0", "numpy==1.26.4", "pandas==3.0.6"),
    "moto": ("moto[s3,server]==5.2.2",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=sorted(TOOLS), action="append")
    words = parser.parse_args()
    for name in words.only or TOOLS:
        place = words.folder / name
        if not place.is_dir():
            venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", *TOOLS[name]], check=True)


if __name__ == "__main__":
    main()
