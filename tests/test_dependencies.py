"""dvc.yaml names all that a stage's numbers come from: code, defaults of settings, sections of params.yaml, files.

What may be left out carries numbers about and alters none: the command line, progress, tracking, paths, pictures of a training.
Files are those that the tiny pipeline's stages open (tests/test_pipeline.py).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from angiosynth.generators.registry import KINDS
from angiosynth.project import resuming
from angiosynth.sections import Section
from angiosynth.settings import Settings
from tests.factories import tiny_tree
from tests.pipeline import ROOT, Stage, stages_of, under
from tests.test_imports import imports_of, module_of, texts

PACKAGE = "src/angiosynth"
LONGEST = 200  # lines of dvc.yaml
CARRIERS = re.compile(r"(__init__|errors|reading|sections)$|(runtime|tracking|search|project|settings)/")
DRAWN = re.compile(r"report/")  # pictures: what stages other than these draw beside their numbers is for the eye
DRAWING = frozenset({"stages/report", "stages/audit"})
RESUMING = frozenset({"train-generator", "select-unet", "train-unet", "transfer", "worth"})
# Sections that a stage's module reads and that alter no number of it.
UNNAMED = {
    ("stages/train_generator", "patches"): "the shape of an example that MLflow keeps with the generator",
    ("stages/train_unet", "patches"): "the same of the U-net",
    ("stages/evaluate", "generators"): "which run gets the scores",
    ("stages/train_unet", "generators"): "which run gets the scores",
}


def dvc_yaml() -> str:
    return (ROOT / "dvc.yaml").read_text(encoding="utf-8")


def stages(text: str | None = None) -> tuple[Stage, ...]:
    return stages_of(dvc_yaml() if text is None else text, tiny_tree())


def modules_behind(start: str, sources: Mapping[str, str]) -> set[str]:
    """Modules whose code a stage runs for its numbers, itself among them; deferred imports count, those for types do not."""
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in seen or module not in sources or CARRIERS.match(module) or (DRAWN.match(module) and start not in DRAWING):
            continue
        seen.add(module)
        used = {found.module for found in imports_of(sources[module]) if not found.for_types}
        waiting += [module_of(name) for name in used if name.startswith("angiosynth")]
        if "importlib.import_module" in used:  # of a family, by the name in its kind
            waiting += [name for name in sources if re.fullmatch(r"generators/\w+/family", name)]
    return seen


def models_of(section: str) -> set[type[BaseModel]]:
    """The models that hold the defaults of a section: its own, those in its fields, and what they inherit from."""
    if section in {"generators", "generator_defaults"}:
        return {model for kind in KINDS.values() for model in _with_parts(kind.settings)}
    return set(_with_parts(Settings.model_fields[section].annotation))


def _with_parts(kind: Any) -> Iterator[type[BaseModel]]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from (parent for parent in kind.__mro__ if issubclass(parent, Section) and parent is not Section)
        for field in kind.model_fields.values():
            yield from _with_parts(field.annotation)
    for part in get_args(kind):
        yield from _with_parts(part)


@cache
def sections_read(text: str) -> set[str]:
    """Sections of params.yaml that a module reads of something called `settings`."""
    reads = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "settings"}
    if reads & {"training_data", "generator"}:
        reads.add("generators")
    return reads & set(Settings.model_fields)


def gaps(members: Iterable[Stage], sources: Mapping[str, str]) -> list[str]:
    """Code, defaults and sections that a stage's numbers come from and that it does not name; named code that is not there."""
    missing: set[str] = set()
    for stage in members:
        read = sections_read(sources[stage.module])
        every = "*" in stage.sections
        unnamed = set() if every else {name for name in read - stage.sections if (stage.module, name) not in UNNAMED}
        missing |= {f"{stage.name}: section {name} is missing in params" for name in unnamed}
        defaults = {model.__module__ for section in (read if every else stage.sections) for model in models_of(section)}
        needed = {f"{PACKAGE}/{module}.py" for module in modules_behind(stage.module, sources)}
        needed |= {f"src/{module.replace('.', '/')}.py" for module in defaults}
        missing |= {f"{stage.name}: {path} is missing in deps" for path in needed if not under(path, stage.code)}
        missing |= {f"{stage.name}: {path} does not exist" for path in stage.code if not (ROOT / path).exists()}
    return sorted(missing)


def test_a_stage_names_all_code_and_settings_that_its_numbers_come_from() -> None:
    found = gaps(stages(), texts())
    assert not found, "\n".join(found)


def test_every_exception_is_needed() -> None:
    read = {(stage.module, name) for stage in stages() for name in sections_read(texts()[stage.module]) - stage.sections}
    assert set(UNNAMED) <= read


def test_a_stage_is_a_module_and_a_module_is_a_stage() -> None:
    modules = {module for module in texts() if module.startswith("stages/")} - {"stages/__init__"}
    assert {stage.module for stage in stages()} == modules
    assert len(yaml.safe_load(dvc_yaml())["stages"]) == 20


def test_dvc_yaml_is_read_in_a_sitting() -> None:
    assert len(dvc_yaml().splitlines()) <= LONGEST


def _without(group: str, *dependencies: str) -> tuple[Stage, ...]:
    """dvc.yaml, in which one group of stages names less."""
    tree = yaml.safe_load(dvc_yaml())
    entry = tree["stages"][group].get("do", tree["stages"][group])
    assert set(dependencies) <= set(entry["deps"])
    entry["deps"] = [name for name in entry["deps"] if name not in dependencies]
    return stages(yaml.safe_dump(tree))


@pytest.mark.parametrize(
    ("group", "left_out", "gap"),
    [
        ("report", f"{PACKAGE}/report", f"report: {PACKAGE}/report/projections.py is missing in deps"),
        ("evaluate-threshold", f"{PACKAGE}/segmentation", f"evaluate-threshold: {PACKAGE}/segmentation/validation.py is missing in deps"),
        ("evaluate", f"{PACKAGE}/metrics", f"evaluate: {PACKAGE}/metrics/skeleton.py is missing in deps"),
        ("train-generator", f"{PACKAGE}/generators", f"train-generator@wgan-gp: {PACKAGE}/generators/gan/family.py is missing in deps"),
        ("train-generator", f"{PACKAGE}/segmentation", f"train-generator@dcgan: {PACKAGE}/segmentation/probe.py is missing in deps"),
        ("train-unet-synthetic", f"{PACKAGE}/compute", f"train-unet-synthetic@dcgan: {PACKAGE}/compute/precision.py is missing in deps"),
        ("select-unet", f"{PACKAGE}/stages/train_unet.py", f"select-unet: {PACKAGE}/stages/train_unet.py is missing in deps"),
        # Defaults that params.yaml leaves out.
        ("phantom", f"{PACKAGE}/settings/phantom.py", f"phantom@site-b: {PACKAGE}/settings/phantom.py is missing in deps"),
        ("audit", f"{PACKAGE}/settings/audit.py", f"audit@dcgan: {PACKAGE}/settings/audit.py is missing in deps"),
        ("train-unet", f"{PACKAGE}/settings/sections.py", f"train-unet: {PACKAGE}/settings/sections.py is missing in deps"),
        ("synthesize", f"{PACKAGE}/generators", f"synthesize@wgan-gp: {PACKAGE}/generators/base.py is missing in deps"),
        ("report", f"{PACKAGE}/settings/phantom.py", f"report: {PACKAGE}/settings/phantom.py is missing in deps"),
    ],
)
def test_code_left_out_is_found(group: str, left_out: str, gap: str) -> None:
    assert gap in gaps(_without(group, left_out), texts())


@pytest.mark.parametrize(
    ("line", "there"),
    [
        ("from angiosynth.privacy import linkage", True),
        ("def f():\n    from angiosynth.privacy.linkage import anything", True),
        ("def f():\n    import angiosynth.privacy.linkage", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from angiosynth.privacy import linkage", False),
    ],
)
def test_a_module_that_comes_in_later_is_found(line: str, there: bool) -> None:
    """Two modules away from the stage: the U-net's, which the training imports, which the stage imports."""
    sources = texts()
    sources["segmentation/unet"] += f"\n{line}\n"
    gap = f"train-unet: {PACKAGE}/privacy/linkage.py is missing in deps"
    assert (gap in gaps(stages(), sources)) is there


def test_progress_and_pictures_of_a_training_rerun_nothing() -> None:
    for stage in stages():
        if stage.verb in RESUMING | {"synthesize", "evaluate"}:
            carried = ("runtime/progress", "tracking/runs", "report/figures", "project/preflight", "commands/options", "cli")
            assert not [module for module in carried if under(f"{PACKAGE}/{module}.py", stage.code)], stage.name


@pytest.mark.parametrize(
    ("group", "key", "gap"),
    [
        ("summary", "evaluation", "summary: section evaluation is missing in params"),
        ("phantom", "phantom.seed", None),  # another key of the section stays
        ("train-generator", "probe", "train-generator@dcgan: section probe is missing in params"),
        ("audit-references", "patches", "audit-references: section patches is missing in params"),
    ],
)
def test_a_section_left_out_is_found(group: str, key: str, gap: str | None) -> None:
    tree = yaml.safe_load(dvc_yaml())
    entry = tree["stages"][group].get("do", tree["stages"][group])
    entry["params"].remove(key)
    assert [line for line in gaps(stages(yaml.safe_dump(tree)), texts()) if "section" in line][:1] == ([gap] if gap else [])


def test_code_that_is_not_there_is_found() -> None:
    moved = dvc_yaml().replace(f"{PACKAGE}/phantom\n", f"{PACKAGE}/phantoms\n")
    assert f"phantom@site-a: {PACKAGE}/phantoms does not exist" in gaps(stages(moved), texts())


def unlike(named: Iterable[str], members: Iterable[Stage]) -> set[str]:
    """In which the code that resume files belong to differs from what dvc.yaml names for the stages that resume, but settings' defaults."""
    dvc = {path.removeprefix(f"{PACKAGE}/") for stage in members if stage.verb in RESUMING for path in stage.code}
    return {path for path in dvc if not path.startswith("settings/")} ^ set(named)


def test_resume_files_belong_to_the_code_that_dvc_yaml_names() -> None:
    assert unlike(resuming.NAMED, stages()) == set()


def test_every_stage_that_resumes_is_looked_at() -> None:
    resumes = re.compile(r"resume_folder\(|train_on_subsets\(")
    modules = {module for module, text in texts().items() if module.startswith("stages/") and resumes.search(text)}
    assert modules == {stage.module for stage in stages() if stage.verb in RESUMING}


@pytest.mark.parametrize("package", ["metrics", "segmentation", "stages/transfer.py"])
def test_a_second_list_that_lacks_a_package_is_found(package: str) -> None:
    assert unlike([name for name in resuming.NAMED if name != package], stages()) == {package}


def test_a_package_that_dvc_yaml_names_alone_is_found() -> None:
    added = dvc_yaml().replace("&compute src/angiosynth/compute", "&compute src/angiosynth/compute\n        - src/angiosynth/privacy")
    assert unlike(resuming.NAMED, stages(added)) == {"privacy"}


# Files that a stage reads and that alter no number of it.
READ_BESIDE = {
    ("cohort", "data/cohort/*.npz"): "other sites' fingerprints: a scan that is in two sites is refused",
    ("evaluate", "models/unet-choice.json"): "which run gets the scores",
    ("summary", "audit/*/audit.json"): "the verdicts that are printed beside the tables",
    ("summary", "data/synthetic/*.npy"): "whether these verdicts are of the sets that there are",
}
RECORDS = ("mlruns", "lineage", ".work", ".git", ".dvc", "src", "cli.py", "params.yaml")  # code is followed by its imports


def unnamed_files(stage: Stage, opened: Iterable[str], sites: Mapping[str, Any]) -> list[str]:
    """Files under the project that a stage has read and that are neither its dependencies nor its own.

    Scans count as named by data/cohort/SITE.json, which holds their digests.
    """
    scans = [site["path"] for name, site in sites.items() if under(f"data/cohort/{name}.json", stage.dependencies)]
    known = (*stage.dependencies, *stage.outputs, *RECORDS, *scans)
    beside = [pattern for verb, pattern in READ_BESIDE if verb == stage.verb]
    read = (path for path in opened if not under(path, known) and "/.partial-" not in f"/{path}")
    return sorted(path for path in read if not any(fnmatch(path, pattern) for pattern in beside))


@pytest.mark.slow
def test_a_stage_reads_no_file_that_it_does_not_name(reproduced: Path) -> None:
    from tests.test_pipeline import opened_by

    params = yaml.safe_load((reproduced / "params.yaml").read_text())
    opened = opened_by(reproduced)
    members = {stage.command: stage for stage in stages_of(dvc_yaml(), params)}
    assert set(members) <= set(opened), "every stage has run and told what it read"
    found = {command: unnamed_files(stage, opened[command], params["cohort"]["sites"]) for command, stage in members.items()}
    assert {command: files for command, files in found.items() if files} == {}
    assert f"models/generators/{next(iter(params['generators']))}/generator.pt" in set().union(*opened.values())


@pytest.mark.parametrize(
    ("group", "left_out", "file"),
    [
        ("report", "models/generators", "models/generators/dcgan/progress.png"),
        ("report", "sweeps", "sweeps/mine.json"),
        ("evaluate-threshold", "splits/${cohort.source}.json", "splits/site-a.json"),
        ("evaluate-threshold", "data/cohort/${cohort.source}.json", "data/phantom/site-a/sub-001/anat/sub-001_angio.nii.gz"),
        ("transfer", "data/patches", "data/patches/site-b/image.npy"),
        ("summary", "models/unet", "models/unet/dcgan/unet.json"),
    ],
)
def test_a_file_left_out_is_found(group: str, left_out: str, file: str) -> None:
    sites = tiny_tree()["cohort"]["sites"]
    (whole,) = (stage for stage in stages() if stage.name == group)
    (less,) = (stage for stage in _without(group, left_out) if stage.name == group)
    assert unnamed_files(whole, [file], sites) == []
    assert unnamed_files(less, [file], sites) == [file]
