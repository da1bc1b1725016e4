"""The exports, loaded by the tools that they are for, as docs/exports.md has a receiver type it.

Each tool has an environment of its own in the folder that ANGIOSYNTH_TOOLS names; `python -m benchmarks.export_tools FOLDER` makes them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from angiosynth.data.patches import PatchSet
from angiosynth.exports.opening import open_contents
from angiosynth.exports.registry import EXPORTS
from angiosynth.exports.writing import write_export
from angiosynth.generators.storage import load_sampler
from angiosynth.release.generator import TrainedSource
from angiosynth.release.identifiers import Identifiers
from angiosynth.release.package import SharedAudit, build_package
from angiosynth.verbs.segment import segment
from tests.documented import ROOT
from tests.exports.conftest import trained_on
from tests.exports.test_medigan import ID
from tests.factories import affine_of, make_arrays, tiny_patches, write_nifti
from tests.release.conftest import AUDIT, TERMS
from tests.release.test_generator import trained_as

nib: Any = nibabel

NNUNET = (
    "nnUNetv2_plan_and_preprocess -d 501 --verify_dataset_integrity -c 2d",
    "nnUNetv2_train 501 2d all",
    "python scale_scan.py scan.nii.gz --brain brain.nii.gz -o scans/head_0000.nii.gz",
    "nnUNetv2_predict -d 501 -c 2d -f all -i scans -o vessels",
)
# The Python of docs/exports.md, then a comparison of every pixel with the package.
LOAD = """from datasets import load_dataset

pairs = load_dataset("FOLDER", split="train")
"""
DESCRIBE = """from mlcroissant import Dataset

records = Dataset(jsonld="FOLDER/croissant.json").records("pairs")
"""
COMPARE = """
import numpy as np

with np.load("demo-1/patches.npz") as stored:
    records = list(records)
    assert len(pairs) == len(records) == len(stored["image"])
    for number, record in enumerate(records):
        for name in ("image", "label"):
            for picture in (pairs[number][name], record[f"pairs/{name}"]):
                assert (np.rot90(np.asarray(picture), -1) == stored[name][number]).all()
"""
VALIDATE = "bids-validator-deno ."
MONAI = (
    "python -m monai.bundle verify_net_in_out network_def --meta_file configs/metadata.json --config_file configs/inference.json",
    "python -m monai.bundle run --config_file configs/inference.json --scan scan.nii.gz --brain brain.nii.gz",
)
MONAI_GENERATOR = (
    "python -m monai.bundle verify_net_in_out network_def --meta_file configs/generator_metadata.json --config_file configs/generate.json",
    "python -m monai.bundle run --config_file configs/generate.json --count 16 --seed 1",
)
SCHEMA = "meta_schema_20240725.json"  # of MONAI's metadata; beside bin/ of its environment, where somebody brought it
VERIFY = "python -m monai.bundle verify_metadata --meta_file configs/{name}.json --filepath {schema}"
MEDIGAN = (
    """python -c "from medigan import Generators; Generators().generate('{id}', num_samples=100, output_path='pairs')\"""",
    "python models/{id}/{id}/__init__.py 100 pairs --seed 1",
)


def tools(name: str) -> Path:
    """The programs of a tool's environment."""
    folder = Path(os.environ.get("ANGIOSYNTH_TOOLS", "/nowhere")) / name / "bin"
    if not folder.is_dir():
        pytest.skip(f"no environment for {name}: make it by `python -m benchmarks.export_tools FOLDER`, name FOLDER in ANGIOSYNTH_TOOLS")
    return folder


@pytest.fixture(scope="module")
def synthetic() -> PatchSet:
    """More pairs than other tests have, one of them without anything in it."""
    pairs = tiny_patches(n=24, size=32)
    pairs.image[7], pairs.label[7] = 0, 0
    pairs.meta.update({"model": "wgan-gp", "n": 24, "size": 32, "seed": 1, "label_threshold": 0.0, "vessel_fraction": 0.2})
    return pairs


def exported(name: str, synthetic: PatchSet, audited: Path, folder: Path, source: TrainedSource | None = None) -> Path:
    audit, unet = SharedAudit(AUDIT, audited), trained_on(synthetic, folder / "unet")
    build_package(folder / "demo-1", synthetic, audit, TERMS, segmenter=unet, drawn_by=source)
    write_export(EXPORTS[name], open_contents(folder / "demo-1", None, folder / "set")[0], folder / "export", Identifiers())
    return folder / "export"


def typed(command: str, folder: Path, programs: Path, **variables: str) -> str:
    """What a command says in a tool's environment, where nothing may be fetched from the internet."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH" and not key.startswith("COVERAGE")}
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder.parent / "home"), "OMP_NUM_THREADS": "1"}
    environment = {**kept, **offline, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", **variables}
    done = subprocess.run(["sh", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.long
def test_nnunet_plans_trains_and_predicts(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    programs = tools("nnunet")
    folder = exported("nnunet", synthetic, audited, tmp_path)
    places = {f"nnUNet_{part}": str(tmp_path / part) for part in ("preprocessed", "results")} | {"nnUNet_raw": str(folder)}
    for place in ("preprocessed", "results"):
        (tmp_path / place).mkdir()
    places |= {"nnUNet_n_proc_DA": "1", "nnUNet_compile": "f"}
    plan, train, scale, predict = NNUNET
    assert "your dataset is most likely OK" in typed(f"{plan} -npfp 1 -np 1", folder, programs, **places)
    said = typed(f"{train} -tr nnUNetTrainer_1epoch -device cpu", folder, programs, **places)
    assert "Training done" in said
    volume, brain, _ = make_arrays((40, 44, 4), 0)
    fine = affine_of((0.312, 0.312, 0.6))  # as the pairs: no resampling
    write_nifti(folder / "scan.nii.gz", volume, fine)
    write_nifti(folder / "brain.nii.gz", brain, fine)
    typed(scale, folder, programs)
    typed(f"{predict} -tr nnUNetTrainer_1epoch -device cpu -npp 0 -nps 0 --disable_tta -step_size 1", folder, programs, **places)
    vessels = nib.load(folder / "vessels" / "head.nii.gz")
    assert vessels.shape == (40, 44, 4)
    np.testing.assert_allclose(vessels.affine, nib.load(folder / "scan.nii.gz").affine, atol=1e-5)


@pytest.mark.slow
@pytest.mark.long
def test_datasets_and_croissant_load_the_pairs(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    programs = tools("huggingface")
    folder = exported("huggingface", synthetic, audited, tmp_path)
    (tmp_path / "compare.py").write_text((LOAD + DESCRIBE).replace("FOLDER", folder.name) + COMPARE)
    typed("python compare.py", tmp_path, programs)


def test_the_page_shows_the_python_that_is_run() -> None:
    page = (ROOT / "docs" / "exports.md").read_text()
    assert LOAD in page
    assert DESCRIBE in page


@pytest.mark.slow
@pytest.mark.long
def test_the_bids_validator_has_no_error(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    programs = tools("bids")
    folder = exported("bids", synthetic, audited, tmp_path)
    said = typed(VALIDATE, folder, programs)  # exit code 0: no error
    assert "24 - Subjects" in said
    assert "[ERROR]" not in said


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("orientation", ["RAS", "LPS"])
def test_a_monai_bundle_marks_the_voxels_that_segment_marks(orientation: str, synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    programs = tools("monai")
    folder = exported("monai", synthetic, audited, tmp_path)
    volume, brain, _ = make_arrays((40, 44, 4), 0)
    scan, mask = (
        write_nifti(folder / f"{name}.nii.gz", array, orientation=orientation) for name, array in (("scan", volume), ("brain", brain))
    )
    assert "verified with no error" in typed(MONAI[0], folder, programs)
    typed(MONAI[1], folder, programs)
    segment(scan, tmp_path / "vessels.nii.gz", mask, str(tmp_path / "unet"))
    ours, theirs = nib.load(tmp_path / "vessels.nii.gz"), nib.load(folder / "predictions" / "scan_vessels.nii.gz")
    marked = np.asarray(ours.dataobj) > 0
    assert 0.05 < marked.mean() < 0.95
    np.testing.assert_array_equal(np.asarray(theirs.dataobj) > 0, marked)
    np.testing.assert_allclose(theirs.affine, ours.affine, atol=1e-5)


@pytest.mark.slow
@pytest.mark.long
def test_monai_draws_the_generators_pairs_and_takes_the_metadata(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    programs = tools("monai")
    source = trained_as("wgan-gp", tmp_path / "project", 32)
    folder = exported("monai", synthetic, audited, tmp_path, source)
    assert "verified with no error" in typed(MONAI_GENERATOR[0], folder, programs)
    typed(MONAI_GENERATOR[1], folder, programs)
    _same_pictures(folder / "pairs", source, 16)
    schema = programs.parent / SCHEMA
    if not schema.is_file():
        pytest.skip(f"MONAI's schema of metadata lies on the internet; bring it as {schema}")
    for name in ("metadata", "generator_metadata"):
        assert "metadata is verified with no error" in typed(VERIFY.format(name=name, schema=schema), folder, programs)


@pytest.mark.slow
@pytest.mark.long
def test_medigan_draws_the_generators_pairs(synthetic: PatchSet, audited: Path, tmp_path: Path) -> None:
    programs = tools("medigan")
    source = trained_as("wgan-gp", tmp_path / "project", 32)
    folder = exported("medigan", synthetic, audited, tmp_path, source)
    by_medigan, alone = (command.format(id=ID) for command in MEDIGAN)
    typed(by_medigan, folder, programs)
    assert len(list((folder / "pairs").iterdir())) == 200
    shutil.rmtree(folder / "pairs")
    typed(alone, folder, programs)
    _same_pictures(folder / "pairs", source, 100)
    said = typed(f'python -c "{MATCHED.format(id=ID)}"', folder, programs)
    assert "valid True" in said
    assert ID in said.partition("matching")[2]


MATCHED = (
    "from medigan import Generators; g = Generators(); entry = g.config_manager.config_dict['{id}']; "
    "print('valid', g.config_manager.is_model_metadata_valid('{id}', {{'{id}': entry}})); "
    "print('matching', g.find_matching_models_by_values(['TOF-MRA', 'vessels']))"
)


def _same_pictures(folder: Path, source: TrainedSource, count: int) -> None:
    """The pictures are the pairs that the project's generator draws by seed 1."""
    image, label = load_sampler(source.folder, source.settings, 32).pairs(count, seed=1, threshold=0.0)
    assert len(list(folder.iterdir())) == 2 * count
    for number in range(count):
        for name, patch, scale in (("image", image[number], 1), ("label", label[number], 255)):
            with Image.open(folder / f"{name}-000-{number:03d}.png") as picture:
                np.testing.assert_array_equal(np.rot90(np.asarray(picture), -1), patch * scale)


def test_the_environments_are_not_this_one() -> None:
    assert tools("nnunet").parent != Path(sys.prefix)
