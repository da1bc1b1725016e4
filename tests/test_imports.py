"""The architecture, read from the imports: who may know whom, and which library may be used where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "angiosynth"
LONGEST = 300  # lines a file may have
HEAVY = ("torch", "mlflow", "optuna", "matplotlib")
CALCULATION = frozenset({"gan/convolution", "gan/networks", "gan/losses", "segmentation/unet", "segmentation/losses"})
CALCULATION |= {f"evaluation/{name}" for name in ("distances", "metrics", "scores", "skeleton")}
PURE = ("torch", "numpy", "scipy", *sys.stdlib_module_names, "angiosynth.errors", "angiosynth.arrays")
PURE += ("angiosynth.compute.distributed",)  # sums over the parts of a batch are part of the arithmetic
PURE += tuple(f"angiosynth.{name.replace('/', '.')}" for name in sorted(CALCULATION))

# Layers from the bottom: a package sees the sets before its own, and itself. Packages of one set do not see each other.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "arrays", "settings", "__init__"}),
    frozenset({"runtime"}),
    frozenset({"data"}),
    frozenset({"gan", "segmentation"}),
    frozenset({"evaluation", "privacy", "release"}),
    frozenset({"report", "experiments"}),
    frozenset({"stages"}),
    frozenset({"commands"}),
    frozenset({"cli", "__main__"}),
)
KNOWS_NOBODY = frozenset({"errors", "arrays", "runtime"})  # these see the errors at most


@dataclass(frozen=True)
class Import:
    """One imported module as seen from a file: `angiosynth.data.nifti` or `torch.nn`."""

    module: str
    line: int
    at_module_level: bool
    for_types: bool = False  # under TYPE_CHECKING

    def within(self, *packages: str) -> bool:
        return any(self.module == package or self.module.startswith(f"{package}.") for package in packages)


def imports_of(text: str) -> Iterator[Import]:
    """Every import of a source text, at any depth. `from p import q` counts as p.q."""
    deferred: set[ast.AST] = set()
    for_types: set[ast.AST] = set()
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            deferred.update(ast.walk(node))
        if _is_for_types_only(node):
            for_types.update(ast.walk(node))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import; write angiosynth. in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(name, getattr(node, "lineno", 0), node not in deferred | for_types, node in for_types)


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _unit(dotted: str) -> str:
    """The layer member that `angiosynth.data.nifti` belongs to: data."""
    parts = dotted.split(".")
    return parts[1] if len(parts) > 1 and any(parts[1] in layer for layer in LAYERS) else "__init__"


def _level(unit: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if unit in layer)


def layers(path: str, found: Import) -> str | None:
    if not found.within("angiosynth"):
        return None
    here, there = Path(path).parts[0].removesuffix(".py"), _unit(found.module)
    if here == there or there in {"errors", "__init__"}:
        return None
    if here in KNOWS_NOBODY:
        return f"{here} knows nobody"
    if _level(there) >= _level(here) and not (here in LAYERS[0] and there in LAYERS[0]):
        return f"{here} is not above {there}"
    return None


def mlflow_only_in_store(path: str, found: Import) -> str | None:
    return "only experiments/store.py knows MLflow" if found.within("mlflow") and path != "experiments/store.py" else None


def optuna_only_in_study(path: str, found: Import) -> str | None:
    return "only experiments/study.py knows Optuna" if found.within("optuna") and path != "experiments/study.py" else None


def calculation_is_pure(path: str, found: Import) -> str | None:
    pure = path.removesuffix(".py") in CALCULATION
    return "networks, losses and metrics use torch, numpy and scipy alone" if pure and not found.within(*PURE) else None


def start_is_light(path: str, found: Import) -> str | None:
    light = path.removesuffix(".py").split("/")[0] in {"cli", "commands", "settings", "errors", "__init__"}
    return "heavy import at start" if light and found.at_module_level and found.within(*HEAVY) else None


RULES: tuple[Callable[[str, Import], str | None], ...] = (
    layers,
    mlflow_only_in_store,
    optuna_only_in_study,
    calculation_is_pure,
    start_is_light,
)


def violations(path: str, text: str) -> list[str]:
    """Broken rules of one file of src/angiosynth, one line each."""
    lines = len(text.splitlines())
    broken = [f"{path}: {lines} lines, more than {LONGEST}"] if lines > LONGEST else []
    for found in imports_of(text):
        broken += [f"{path}:{found.line}: {found.module}: {why}" for rule in RULES if (why := rule(path, found))]
    return broken


def test_every_file_keeps_the_rules() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert files
    broken = [line for file in files for line in violations(file.relative_to(SOURCE).as_posix(), file.read_text(encoding="utf-8"))]
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("data/patches.py", "from angiosynth.generators.gan import networks"),
        ("gan/training.py", "from angiosynth.segmentation.unet import Unet"),
        ("segmentation/training.py", "import angiosynth.generators.gan.networks"),
        ("segmentation/prediction.py", "def f():\n    from angiosynth.evaluation import metrics"),
        ("evaluation/patients.py", "from angiosynth.report import page"),
        ("report/page.py", "from angiosynth.stages import report"),
        ("stages.py", "from angiosynth import cli"),
        ("runtime/output.py", "from angiosynth.settings import Settings"),
        ("experiments/sweep.py", "import mlflow"),
        ("stages.py", "def f():\n    from mlflow.tracking import MlflowClient"),
        ("experiments/tracking.py", "import optuna"),
        ("gan/losses.py", "import pandas"),
        ("gan/networks.py", "from angiosynth.settings import GanCommon"),
        ("evaluation/metrics.py", "from angiosynth.data import nifti"),
        ("cli.py", "import torch"),
        ("settings.py", "if True:\n    from matplotlib import pyplot"),
        ("data/nifti.py", "\n" * (LONGEST + 1)),
    ],
)
def test_a_planted_violation_is_found(path: str, text: str) -> None:
    assert len(violations(path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("cli.py", "def train():\n    import torch"),
        ("evaluation/transfer.py", "from angiosynth.segmentation import training"),
        ("evaluation/metrics.py", "import scipy.spatial\nfrom angiosynth.arrays import Mask"),
        ("experiments/store.py", "import mlflow"),
        ("runtime/output.py", "from angiosynth.errors import InputError"),
    ],
)
def test_what_is_allowed_is_not_found(path: str, text: str) -> None:
    assert violations(path, text) == []


# What dvc.yaml leaves out on purpose: these modules carry numbers about and alter none ...
CARRIERS = frozenset(
    {
        "__init__",
        "errors",
        "settings",
        "settings/audit",
        "settings/checks",
        "settings/phantom",
        "settings/sections",
        "settings/sweep",
        "stages",
        "cli",
        "runtime/machine",
        "runtime/output",
        "runtime/progress",
        "runtime/recorder",
        "runtime/secrets",
        "runtime/checkpoint",
        "runtime/stop",
    }
)
# ... and these uses alter none, whatever changes in the module used.
CARRIED = {
    ("data/cohort", "data/intensity"): "handed on by name",
    ("evaluation/validation", "gan/synthesis"): "the sampler is handed in",
    ("segmentation/storage", "segmentation/training"): "the trained U-net is handed in",
}


def _name(file: Path) -> str:
    return file.relative_to(SOURCE).with_suffix("").as_posix()


def _modules_behind(module: Path) -> set[Path]:
    """Modules of src/angiosynth whose code this one runs, directly or through others, without CARRIERS and CARRIED."""
    seen: set[Path] = set()
    waiting = [module]
    while waiting:
        file = waiting.pop()
        if file in seen or not file.is_file() or _name(file) in CARRIERS:
            continue
        seen.add(file)
        for found in imports_of(file.read_text(encoding="utf-8")):
            parts = found.module.split(".")
            if parts[0] == "angiosynth" and not found.for_types:
                candidates = [SOURCE.joinpath(*parts[1:end]).with_suffix(".py") for end in range(2, len(parts) + 1)]
                waiting += [used for used in candidates if (_name(file), _name(used)) not in CARRIED]
    return seen - {module}


def _gaps(stages: dict[str, Any]) -> list[str]:
    """Code that a stage of dvc.yaml names and that is not there, or that it runs and does not name."""
    faults: set[str] = set()
    for name, entry in stages.items():
        stage = entry.get("do", entry)
        group = entry.get("foreach")
        for item in group.values() if isinstance(group, dict) else [""]:
            named = {ROOT / dep for dep in [*stage["deps"], item] if dep.endswith(".py")}
            behind = {file for module in named for file in _modules_behind(module)} - named
            faults |= {f"{name}: {file.relative_to(ROOT)} does not exist" for file in named if not file.is_file()}
            faults |= {f"{name}: {file.relative_to(ROOT)} is missing in deps" for file in behind}
            faults |= set() if named else {f"{name}: no code in deps"}
    return sorted(faults)


def test_a_stage_reruns_when_any_module_behind_it_changes() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    assert len(stages) >= 9
    gaps = _gaps(stages)
    assert not gaps, "\n".join(gaps)


@pytest.mark.parametrize(
    "stage",
    [
        {"deps": ["src/angiosynth/data/patches.py"]},
        {"foreach": {"real": "data/patches"}, "do": {"deps": ["src/angiosynth/data/patches.py"]}},
        {"foreach": {"threshold": "src/angiosynth/data/patches.py"}, "do": {"deps": []}},
        {"foreach": ["dcgan"], "do": {"deps": ["src/angiosynth/data/patches.py"]}},
    ],
)
def test_a_module_left_out_of_a_stage_is_found(stage: dict[str, Any]) -> None:
    assert "patches: src/angiosynth/data/nifti.py is missing in deps" in _gaps({"patches": stage})


def test_a_stage_without_its_code_is_found() -> None:
    assert _gaps({"a": {"deps": ["data"]}, "b": {"deps": ["src/angiosynth/gone.py"]}}) == [
        "a: no code in deps",
        "b: src/angiosynth/gone.py does not exist",
    ]
