"""README.md and docs/ show only commands that a test runs, or that say why none does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import nibabel
import numpy as np
import pytest
import typer.main

from angiosynth.cli import commands
from tests.documented import PAGES, ROOT, Shown, commands_of, run, shown
from tests.factories import make_arrays, write_nifti
from tests.importing.test_recipes import RECIPES
from tests.walks import RECEIVER, SENDER

# Who runs a command; the command stands in that file word for word.
RUN_BY = {
    "cd FOLDER": "release/test_signature.py::test_a_receiver_checks_a_package_without_this_project",
    'echo "lab $(cat sender.pub)" > allowed_signers': "release/test_signature.py::test_a_receiver_checks_a_package_without_this_project",
    "ssh-keygen -Y verify -f ../allowed_signers -I lab -n angiosynth-release -s SHA256SUMS.sig < SHA256SUMS": (
        "release/test_signature.py::test_a_receiver_checks_a_package_without_this_project"
    ),
    "sha256sum --check --strict SHA256SUMS": "release/test_signature.py::test_a_receiver_checks_a_package_without_this_project",
    "angiosynth demo -o demo": "project/test_new_project.py::test_the_installed_program_makes_a_demo_whose_packages_doctor_knows",
    "angiosynth new --upgrade": (
        "project/test_new_project.py::test_stages_of_a_project_from_the_wheel_run_again_after_an_upgrade_that_changes_their_code"
    ),
    "angiosynth new vessels": (
        "project/test_new_project.py::test_stages_of_a_project_from_the_wheel_run_again_after_an_upgrade_that_changes_their_code"
    ),
    "SECRETS=deploy/secrets sh deploy/create-databases.sh": (
        "test_compose.py::test_the_server_runs_by_the_containers_command_on_the_scripts_databases"
    ),
    "dvc remote add -d lab ssh://dvc@storage.example.org/srv/dvc/angiosynth": (
        "test_remotes.py::test_an_ssh_remote_is_pushed_to_and_pulled_from"
    ),
    "dvc remote modify --local lab keyfile ~/.ssh/id_ed25519": "test_remotes.py::test_an_ssh_remote_is_pushed_to_and_pulled_from",
    **dict.fromkeys(
        (
            "dvc remote add -d lab s3://lab-dvc/angiosynth",
            "dvc remote modify lab endpointurl https://s3.example.org",
            "dvc remote modify --local lab profile lab",
        ),
        "test_remotes.py::test_an_s3_bucket_is_pushed_to_and_pulled_from",
    ),
    "sbatch --export=ALL,MODEL=wgan-gp-sn deploy/slurm/train-generator.sbatch": (
        "test_slurm.py::test_a_training_that_is_requeued_at_its_time_limit_ends_as_one_that_is_not"
    ),
    "sbatch --export=ALL,MODEL=wgan-gp-sn,STUDY=rates,TRIALS=40 deploy/slurm/sweep.sbatch": (
        "test_slurm.py::test_a_sweep_outlives_a_cancelled_worker_and_a_drained_node"
    ),
    "dvc add data/raw/site-a": "test_dvc.py::build",
    "dvc exp apply NAME": "test_dvc.py::_experiments",
    "dvc gc --all-commits --all-experiments": "test_dvc.py::test_collecting_garbage_never_takes_the_only_copy",
    "dvc metrics diff": "test_pipeline.py::test_what_the_readme_has_users_type",
    "dvc plots show": "test_pipeline.py::test_what_the_readme_has_users_type",
    "dvc pull --with-deps report": "test_pipeline.py::test_sets_and_releases_go_to_the_remote_and_come_back",
    "dvc pull data/raw/site-a": "test_dvc.py::test_a_clone_pulls_the_scans_and_what_rests_on_them",
    "dvc push": "test_dvc.py::build",
    "dvc queue start": "test_dvc.py::_experiments",
    "dvc queue status": "test_dvc.py::_experiments",
    "dvc remote add -d store /some/folder && dvc push": "test_dvc.py::build",
    "dvc repro cohort patches": "test_dvc.py::build",
    'git commit -a -m "A run"': "test_dvc.py::build",
    'git commit -m "Scans of site A"': "test_dvc.py::build",
    "git pull": "test_dvc.py::test_a_clone_pulls_the_scans_and_what_rests_on_them",
    "python cli.py profile quick": "test_dvc.py::build",
    "python cli.py import /where/they/are --scan 'scan*' --vessels '*_vessels' --brain '*_brain' --dry-run": "test_dvc.py::build",
    "python cli.py import /where/they/are --scan 'scan*' --vessels '*_vessels' --brain '*_brain' -o data/raw/site-a": "test_dvc.py::build",
    **dict.fromkeys(
        (
            "uv venv --python 3.11 vessels-env",
            ". vessels-env/bin/activate",
            "uv pip install dist/angiosynth-*.whl",
            "uv tool install --python 3.11 dist/angiosynth-*.whl",
            'export PATH="$(uv tool dir)/angiosynth/bin:$PATH"',
            "pipx install dist/angiosynth-*.whl",
            'export PATH="$(pipx environment --value PIPX_LOCAL_VENVS)/angiosynth/bin:$PATH"',
        ),
        "project/test_installers.py::test_an_empty_environment_gets_to_a_report",
    ),
    **dict.fromkeys(
        (
            "nnUNetv2_plan_and_preprocess -d 501 --verify_dataset_integrity -c 2d",
            "nnUNetv2_train 501 2d all",
            "python scale_scan.py scan.nii.gz --brain brain.nii.gz -o scans/head_0000.nii.gz",
            "nnUNetv2_predict -d 501 -c 2d -f all -i scans -o vessels",
        ),
        "exports/test_real_tools.py::test_nnunet_plans_trains_and_predicts",
    ),
    **dict.fromkeys(
        (
            "python -m monai.bundle verify_net_in_out network_def --meta_file configs/metadata.json --config_file configs/inference.json",
            "python -m monai.bundle run --config_file configs/inference.json --scan scan.nii.gz --brain brain.nii.gz",
        ),
        "exports/test_real_tools.py::test_a_monai_bundle_marks_the_voxels_that_segment_marks",
    ),
    **dict.fromkeys(
        (
            "python -m monai.bundle verify_net_in_out network_def --meta_file configs/generator_metadata.json "
            "--config_file configs/generate.json",
            "python -m monai.bundle run --config_file configs/generate.json --count 16 --seed 1",
        ),
        "exports/test_real_tools.py::test_monai_draws_the_generators_pairs_and_takes_the_metadata",
    ),
    "bids-validator-deno .": "exports/test_real_tools.py::test_the_bids_validator_has_no_error",
    "python cli.py release NAME --model wgan-gp --sign-key KEY": (
        "test_pipeline.py::test_sets_and_releases_go_to_the_remote_and_come_back"
    ),
    "python cli.py segment scan.nii.gz -o vessels.nii.gz --mask brain.nii.gz": "test_pipeline.py::test_what_the_readme_has_users_type",
}
RUN_BY |= {command: "importing/test_recipes.py::test_a_recipe_takes_the_folder_that_it_describes" for command in RECIPES}
SNIPPETS = [one for one in shown() if one.command.startswith("python -c") and not one.reason]
nib: Any = nibabel
CALL = re.compile(r"`(python cli\.py [^`]+)`")


def test_every_command_is_run_or_says_why_not() -> None:
    known = {*RUN_BY, *(one.command for one in SNIPPETS)}
    known |= {one.command for one in shown() if ROOT / one.page in (SENDER, RECEIVER)}  # test_walks.py runs these pages, block by block
    assert [one for one in shown() if not one.reason and one.command not in known] == []


def test_nothing_is_listed_that_no_page_shows_or_no_test_runs() -> None:
    told = {one.command for one in shown()} | {span for page in PAGES for span in re.findall(r"`([^`\n]+)`", page.read_text())}
    assert sorted(set(RUN_BY) - told) == []
    for command, test in RUN_BY.items():
        name, _, function = test.partition("::")
        text = (ROOT / "tests" / name).read_text()
        assert f"def {function}(" in text
        assert command in text.replace('\\"', '"'), f"{name} does not have {command}"


@pytest.mark.parametrize("one", SNIPPETS, ids=lambda one: one.page)
def test_snippets_of_python_run(one: Shown, tmp_path: Path) -> None:
    scan = write_nifti(tmp_path / "scan06.nii.gz", make_arrays((8, 9, 5), 0)[0])
    run(tmp_path, one.command)
    (made,) = (path for path in tmp_path.iterdir() if path != scan)
    if made.suffix == ".gz":
        mended = nib.load(made)
        np.testing.assert_allclose(mended.header.get_zooms(), np.array([0.5, 0.5, 0.6]), rtol=1e-6)
        np.testing.assert_array_equal(mended.get_fdata(), nib.load(scan).get_fdata())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_have_the_options_that_there_are(page: Path) -> None:
    known = typer.main.get_command(commands)
    assert isinstance(known, click.Group) or hasattr(known, "commands")
    for call in CALL.findall(page.read_text(encoding="utf-8")):
        name, *words = call.split()[2:]
        if name == "COMMAND":
            continue
        assert name in known.commands, f"{call}: no such command"
        options = {option for parameter in known.commands[name].params for option in parameter.opts} | {"--help"}
        used = {word.strip("[]").partition("=")[0] for word in words if re.match(r"\[?--?[a-z]", word)}
        assert used <= options, f"{call}: {used - options}"


def test_commands_are_distinguished() -> None:
    block = "dvc push   # all\n\nfor n in a; do echo $n; done\nmlflow server \\\n    --port 1\npython -c \"a\nb('c')\" > out\n"
    assert commands_of(block) == [
        "dvc push",
        "for n in a; do echo $n; done",
        "mlflow server \\\n    --port 1",
        "python -c \"a\nb('c')\" > out",
    ]
