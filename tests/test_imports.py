"""The architecture, read from the imports: who may know whom, and which library may be used where."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from angiosynth.generators.registry import KINDS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "angiosynth"
LONGEST = 300  # lines a file may have
OPTUNA = ("search/study", "search/storage")  # who may import it
HEAVY = ("torch", "mlflow", "optuna", "matplotlib")
CALCULATION = re.compile(
    r"metrics/\w+|generators/gan/(augmentation|convolution|grouped|instance|losses|networks|residual|second_derivatives|spectral|subpixel)"
    r"|generators/flow/(networks|transport)|segmentation/(unet|losses)"
)
PURE = ("torch", "numpy", "scipy", *sys.stdlib_module_names, "angiosynth.errors", "angiosynth.arrays")
PURE += ("angiosynth.compute.distributed", "angiosynth.compute.draws")  # sums over the parts of a batch and random numbers are arithmetic

# Layers from the bottom: a unit sees the sets before its own, and itself. Units of one set do not see each other. A unit is a package,
# but for `kinds`: what describes generators without torch, which settings are made of.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "reading", "arrays", "__init__"}),
    frozenset({"sections", "runtime", "compute", "metrics"}),
    frozenset({"kinds"}),
    frozenset({"settings"}),
    frozenset({"data", "phantom"}),
    frozenset({"importing", "generators", "segmentation"}),
    frozenset({"evaluation", "privacy", "release"}),
    frozenset({"report", "tracking", "exports"}),
    frozenset({"search", "project"}),
    frozenset({"stages"}),
    frozenset({"verbs"}),
    frozenset({"commands"}),
    frozenset({"cli"}),
)
KINDS_MODULES = re.compile(r"generators/(base|registry|\w+/kinds|\w+/__init__|__init__)$")
WORDS = frozenset({"flow"})  # kinds whose names have another meaning too: blood flows
FAMILY = re.compile(r"generators/(\w+)/")


@dataclass(frozen=True)
class Import:
    """One imported module as seen from a file: `angiosynth.data.nifti` or `torch.nn`."""

    module: str
    line: int
    at_module_level: bool
    for_types: bool = False  # under TYPE_CHECKING

    def within(self, *packages: str) -> bool:
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


@cache
def imports_of(text: str) -> tuple[Import, ...]:
    """Every import of a source text, at any depth. `from p import q` counts as p.q."""
    return tuple(_imports(text))


def _imports(text: str) -> Iterator[Import]:
    deferred: set[ast.AST] = set()
    for_types: set[ast.AST] = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            deferred.update(ast.walk(node))
        if _is_for_types_only(node):
            for_types.update(ast.walk(node))
    later = deferred | for_types
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write angiosynth. in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(name, getattr(node, "lineno", 0), node not in later, node in for_types)


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def module_of(dotted: str) -> str:
    """`angiosynth.data.nifti.read_volume` -> data/nifti: the module of src/angiosynth that an import runs."""
    parts = dotted.split(".")[1:]
    for end in range(len(parts), 0, -1):
        path = SOURCE.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return "/".join(parts[:end])
        if (path / "__init__.py").is_file():
            return "/".join((*parts[:end], "__init__"))
    return "__init__"


def _unit(module: str) -> str:
    """The layer member that a module such as data/nifti belongs to: data."""
    return "kinds" if KINDS_MODULES.match(module) else module.split("/")[0]


def _level(unit: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if unit in layer)


def layers(path: str, found: Import) -> str | None:
    if not found.within("angiosynth"):
        return None
    here, there = _unit(path), _unit(module_of(found.module))
    if here == there or there in {"errors", "reading", "__init__"}:
        return None
    if path == "generators/base" and found.for_types:
        return None  # its protocols name what a family is handed
    return None if _level(there) < _level(here) else f"{here} is not above {there}"


def mlflow_only_in_store(path: str, found: Import) -> str | None:
    return "only tracking/store.py knows MLflow" if found.within("mlflow") and path != "tracking/store" else None


def optuna_only_in_study(path: str, found: Import) -> str | None:
    return "only search/study.py and storage.py know Optuna" if found.within("optuna") and path not in OPTUNA else None


def families_are_asked_through_the_registry(path: str, found: Import) -> str | None:
    if not found.within("angiosynth.generators") or path == "generators/registry":
        return None
    there, here = (FAMILY.match(module) for module in (module_of(found.module), path))
    return None if there is None or (here and here[1] == there[1]) else "only generators/registry.py knows a family"


def calculation_is_pure(path: str, found: Import) -> str | None:
    if not CALCULATION.fullmatch(path) or found.within(*PURE):
        return None
    pure = found.within("angiosynth") and CALCULATION.fullmatch(module_of(found.module))
    return None if pure else "networks, losses and metrics use torch, numpy and scipy alone"


def start_is_light(path: str, found: Import) -> str | None:
    light = _unit(path) in {"cli", "commands", "settings", "sections", "kinds", "errors", "__init__"}
    return "heavy import at start" if light and found.at_module_level and found.within(*HEAVY) else None


RULES: tuple[Callable[[str, Import], str | None], ...] = (
    layers,
    mlflow_only_in_store,
    optuna_only_in_study,
    families_are_asked_through_the_registry,
    calculation_is_pure,
    start_is_light,
)


def violations(path: str, text: str) -> list[str]:
    """Broken rules of one module of src/angiosynth, one line each."""
    lines = len(text.splitlines())
    broken = [f"{path}: {lines} lines, more than {LONGEST}"] if lines > LONGEST else []
    for found in imports_of(text):
        broken += [f"{path}:{found.line}: {found.module}: {why}" for rule in RULES if (why := rule(path, found))]
    return broken


def texts() -> dict[str, str]:
    """Module, such as data/nifti, -> its source."""
    files = sorted(SOURCE.rglob("*.py"))
    return {file.relative_to(SOURCE).with_suffix("").as_posix(): file.read_text(encoding="utf-8") for file in files}


def cycle(sources: Mapping[str, str]) -> list[str]:
    """Modules that import each other in a ring, at any depth of their functions; [] where there are none."""
    edges = {
        module: {module_of(found.module) for found in imports_of(text) if found.within("angiosynth") and not found.for_types} - {module}
        for module, text in sources.items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_file_keeps_the_rules() -> None:
    sources = texts()
    assert len(sources) > 100
    broken = [line for module, text in sources.items() for line in violations(module, text)]
    assert not broken, "\n".join(broken)


def test_no_modules_import_each_other() -> None:
    sources = texts()
    assert cycle(sources) == []
    assert cycle({**sources, "data/nifti": "def f():\n    from angiosynth.data import patches"}) != []


def test_every_package_has_its_place() -> None:
    assert {_unit(module) for module in texts()} == frozenset().union(*LAYERS)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("data/patches", "from angiosynth.generators import storage"),
        ("generators/synthesis", "from angiosynth.segmentation.unet import Unet"),
        ("segmentation/training", "import angiosynth.generators.storage"),
        ("segmentation/prediction", "def f():\n    from angiosynth.evaluation import patients"),
        ("evaluation/patients", "from angiosynth.report import page"),
        ("report/page", "from angiosynth.stages import report"),
        ("stages/report", "from angiosynth import cli"),
        ("stages/report", "from angiosynth.verbs import release"),
        ("runtime/output", "from angiosynth.settings import Settings"),
        ("metrics/frechet", "from angiosynth.compute import distributed"),
        ("tracking/opening", "from angiosynth.search import space"),
        ("settings/checks", "from angiosynth.generators import storage"),
        ("generators/registry", "from angiosynth.settings import Settings"),
        ("generators/base", "from angiosynth.data.patches import PatchSet"),
        ("search/sweep", "import mlflow"),
        ("stages/report", "def f():\n    from mlflow.tracking import MlflowClient"),
        ("tracking/runs", "import optuna"),
        ("generators/storage", "from angiosynth.generators.gan.family import train"),
        ("stages/audit", "def f():\n    from angiosynth.generators.gan import kinds"),
        ("generators/gan/losses", "import pandas"),
        ("generators/gan/networks", "from angiosynth.generators.base import GeneratorSettings"),
        ("generators/flow/transport", "from angiosynth.generators.flow.kinds import FlowSettings"),
        ("generators/flow/family", "from angiosynth.generators.gan.models import encode_pairs"),
        ("metrics/segmentation", "from angiosynth.runtime import output"),
        ("cli", "import torch"),
        ("generators/registry", "import torch"),
        ("settings/__init__", "if True:\n    from matplotlib import pyplot"),
        ("data/nifti", "\n" * (LONGEST + 1)),
    ],
)
def test_a_planted_violation_is_found(path: str, text: str) -> None:
    assert violations(path, text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cli", "def train():\n    import torch"),
        ("evaluation/transfer", "from angiosynth.segmentation import training"),
        ("metrics/segmentation", "import scipy.spatial\nfrom angiosynth.arrays import Mask\nfrom angiosynth.metrics import skeleton"),
        ("generators/base", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from angiosynth.data.patches import PatchSet"),
        ("generators/gan/family", "from angiosynth.generators.gan import kinds, training"),
        ("tracking/store", "import mlflow"),
        ("runtime/output", "from angiosynth.errors import InputError"),
    ],
)
def test_what_is_allowed_is_not_found(path: str, text: str) -> None:
    assert violations(path, text) == []


def names_of_kinds(sources: Mapping[str, str]) -> list[str]:
    """Lines, outside the families' folders, in which a kind stands as text, as a class or as a constant.

    Titles, such as WGAN-GP, are allowed: the page quotes the paper.
    """
    names = {*KINDS, "dcgan", "wgan"}
    forms = {form for name in names - WORDS for form in (name, name.replace("-", "_"), name.title().replace("-", ""))}
    constants = {f"{name.upper().replace('-', '_')}_" for name in names - WORDS}
    # a name that is a word too counts in quotes, and as the beginning of a class or a constant
    quoted = {f"{quote}{name}{quote}" for name in names & WORDS for quote in ("'", '"')}
    classes = {rf"\b{name.title()}(?=[A-Z])|\b{name.upper()}_" for name in names & WORDS}
    kind = re.compile("|".join([*map(re.escape, sorted(forms | constants | quoted)), *sorted(classes)]))
    lines = ((module, line) for module, text in sources.items() if not FAMILY.match(module) for line in text.splitlines())
    return [f"{module}: {line.strip()}" for module, line in lines if kind.search(line)]


def test_no_module_outside_its_family_names_a_kind() -> None:
    assert names_of_kinds(texts()) == []


@pytest.mark.parametrize(
    "line",
    [
        "if name == 'dcgan':",
        "WGAN_GP = 3",
        "from angiosynth.generators.gan.kinds import WganGpSettings",
        'if kind == "flow":',
        "FLOW_STEPS = 3",
        "isinstance(settings, FlowSettings)",
    ],
)
def test_a_planted_kind_is_found(line: str) -> None:
    assert names_of_kinds({"report/style": f"x = 1\n{line}\n"}) == [f"report/style: {line}"]
