"""A registered model of a stranger: none of its code runs, whatever loads it, and its weights serve the same numbers as ever."""

from __future__ import annotations

import ast
import json
import os
import pickle
import socket
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from angiosynth.cli import app, commands
from angiosynth.runtime import service
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import UNET_FILES, load_segmenter, save_unet
from angiosynth.segmentation.training import TrainedUnet
from angiosynth.segmentation.unet import build_unet
from angiosynth.settings import IntensitySettings, UnetSettings
from angiosynth.tracking.registry import register
from angiosynth.tracking.runs import RunSpec, ensure_store, tracking_uri, training_run
from tests.factories import make_arrays, write_nifti
from tests.stores import empty_store

SOURCE = Path(__file__).resolve().parents[2] / "src" / "angiosynth"
MARKER = "ANGIOSYNTH_TEST_MARKER"
EVIL = f"import os\nopen(os.environ['{MARKER}'], 'a').write('ran')\n"


class Evil:
    """Unpickled, it leaves the mark."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return exec, (EVIL,)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, mlflow_tables: Path) -> Path:
    """A project with a store and, in `unet`, a trained U-net."""
    folder = tmp_path_factory.mktemp("registry").resolve()
    patch = pytest.MonkeyPatch()
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT", "ANGIOSYNTH_TRACKING", "DVC_ROOT"):
        patch.delenv(name, raising=False)
    empty_store(folder, mlflow_tables)
    ensure_store(folder)
    patch.undo()
    (folder / "dvc.yaml").touch()
    (folder / "unet").mkdir()
    trained = TrainedUnet(Segmenter(build_unet(2, 0.0, 3).eval(), -0.5, 0.4, "float32"), 1, {}, [])
    facts = {"intensity": IntensitySettings(low=1.0, high=99.0).model_dump(mode="json")}
    save_unet(folder / "unet", trained, UnetSettings(width=2, steps=1, precision="float32"), facts)
    return folder


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(MARKER, str(tmp_path / "marker"))
    return tmp_path / "marker"


@pytest.fixture
def asked(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[service.Service]:
    """In the project's folder; what would have been served, instead of a server."""
    seen: list[service.Service] = []
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "DVC_ROOT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANGIOSYNTH_TRACKING", "on")
    monkeypatch.chdir(root)
    monkeypatch.setattr("angiosynth.verbs.serve.run", lambda made, _: seen.append(made))
    return seen


def _registered(root: Path, name: str, files: Path, model: Path) -> str:
    """A version of a registered model, with these files in its run and this model folder; gives its run's id."""
    with training_run(RunSpec("unet", name, stage="s", settings={}), root=root, lineage=False) as run:
        for file in UNET_FILES:
            if (files / file).is_file():
                run.artifact(files / file)
    client: Any = MlflowClient(tracking_uri(root))
    register(client, name, SimpleNamespace(artifact_location=str(model), model_id=None), run.id, once=False)
    return run.id


def _mlmodel(folder: Path, text: str) -> None:
    (folder / "MLmodel").write_text(text)
    (folder / "requirements.txt").write_text("angiosynth-no-such-package==1.0\n")
    (folder / "python_env.yaml").write_text("python: 3.11\nbuild_dependencies: []\ndependencies: [-r requirements.txt]\n")


def _code(folder: Path) -> None:
    (folder / "code").mkdir()
    (folder / "code" / "evil_loader.py").write_text(EVIL + "def _load_pyfunc(path):\n    return None\n")
    _mlmodel(folder, "flavors:\n  python_function:\n    loader_module: evil_loader\n    code: code\n    env: python_env.yaml\n")


def _from_code(folder: Path) -> None:
    (folder / "model.py").write_text(EVIL)
    _mlmodel(folder, "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.model\n    model_code_path: model.py\n")


def _python_model(folder: Path) -> None:
    (folder / "python_model.pkl").write_bytes(pickle.dumps(Evil()))
    text = "flavors:\n  python_function:\n    cloudpickle_version: 3.1.1\n    loader_module: mlflow.pyfunc.model\n"
    _mlmodel(folder, text + "    python_model: python_model.pkl\n    python_version: 3.11.7\n")


def _pytorch(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "pickle_module_info.txt").write_text("pickle")
    (folder / "data" / "model.pth").write_bytes(pickle.dumps(Evil()))
    text = "flavors:\n  python_function:\n    data: data\n    loader_module: mlflow.pytorch\n    pickle_module_name: pickle\n"
    _mlmodel(folder, text + "  pytorch:\n    model_data: data\n    pytorch_version: 2.13.0\n")


def _exported(folder: Path) -> None:
    """In the place of an exported program, whose constants torch.export.load would unpickle."""
    (folder / "data").mkdir()
    with zipfile.ZipFile(folder / "data" / "model.pt2", "w") as program:
        for entry in ("archive_format", "data/weights/weight_0", "data/constants/custom_obj_0"):
            program.writestr(f"model/{entry}", b"pt2" if entry == "archive_format" else pickle.dumps(Evil()))
    _mlmodel(folder, "flavors:\n  pytorch:\n    model_data: data\n    serialization_format: pt2\n")


def _outside(folder: Path) -> None:
    """Names and links that lead out of the model's folder."""
    (folder.parent / "evil_loader.py").write_text(EVIL)
    (folder / "code").symlink_to(folder.parent)
    (folder / "unet.pt").symlink_to("/etc/passwd")
    _mlmodel(folder, "flavors:\n  python_function:\n    loader_module: evil_loader\n    code: ../\n    data: ../../../etc/passwd\n")


MODELS = {f.__name__[1:]: f for f in (_code, _from_code, _python_model, _pytorch, _exported, _outside)}


def _exit_code(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        app(lambda: commands(list(words)))
    return int(caught.value.code or 0)


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_the_trap_is_armed(tmp_path: Path, marker: Path) -> None:
    """MLflow's own loader runs what such a model brings."""
    _code(tmp_path)
    before = list(sys.path)
    with pytest.raises(Exception, match=r".*"):
        mlflow.pyfunc.load_model(str(tmp_path)).predict(None)
    sys.path[:] = before
    assert marker.read_text()


@pytest.mark.parametrize("kind", MODELS)
def test_no_code_of_a_registered_model_runs_and_its_weights_serve_the_same_values(
    kind: str, root: Path, tmp_path: Path, marker: Path, asked: list[service.Service]
) -> None:
    """By `serve` and by `segment`, of a version and of a run. Neighbours: a loader module with its code folder, a model from code, pickles
    of three flavours, links and paths that lead out of the folder, requirements that would be installed."""
    (tmp_path / "model").mkdir()
    MODELS[kind](tmp_path / "model")
    run = _registered(root, f"unet-{kind}", root / "unet", tmp_path / "model")
    assert _exit_code("serve", "--model", f"models:/unet-{kind}/1", "--port", _free_port()) == 0
    images = np.random.default_rng(1).uniform(-1, 1, (3, 1, 32, 48)).astype(np.float32)
    with torch.no_grad():
        expected = Served(load_segmenter(root / "unet"))(torch.from_numpy(images)).numpy()
    body = bytearray(json.dumps({"inputs": images.tolist()}).encode())
    served = json.loads(b"".join(asked[0]._answer(body)))["predictions"]
    np.testing.assert_array_equal(np.array(served, np.float32), expected)
    scan, brain, _ = make_arrays((24, 24, 3), 1)
    words = [str(write_nifti(tmp_path / "scan.nii", scan)), "--mask", str(write_nifti(tmp_path / "brain.nii", brain))]
    for number, model in enumerate((f"models:/unet-{kind}/1", f"runs:/{run}", "unet")):
        assert _exit_code("segment", *words, "-o", str(tmp_path / f"{number}.nii"), "--model", model) == 0
    assert len({(tmp_path / f"{number}.nii").read_bytes() for number in range(3)}) == 1
    assert not marker.exists()
    assert not list((root / ".work").glob("*/*"))
    assert not list((root / ".work").glob(".partial-*"))


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\u202etxt", "[red]x[/]", "x\x9b", "%s", "..", "%2e%2e%2f"])
def test_names_that_the_registry_does_not_have_are_one_quiet_line(
    name: str, asked: list[service.Service], capsys: pytest.CaptureFixture[str]
) -> None:
    """Escapes, ends of lines, writing turned round, markup, paths: also in what MLflow says of them."""
    for uri in (f"models:/{name}/1", f"models:/x@{name}", f"runs:/{name}"):
        capsys.readouterr()
        assert _exit_code("serve", "--model", uri, "--port", _free_port()) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.isprintable()
        assert line.startswith("angiosynth: ")
    assert not asked


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Evil()))


def _torch_pickle(path: Path) -> None:
    torch.save({"weights": Evil()}, path)


def _link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")
    (path.parent / "elsewhere").write_bytes(b"x")


def _long(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a pickle": (_pickle, "damaged"),
    "a pickle in torch's archive": (_torch_pickle, "damaged"),
    "text": (lambda path: path.write_text("weights"), "damaged"),
    "missing": (lambda _: None, "none such"),
    "a pipe": (os.mkfifo, "no ordinary file"),
    "a folder": (Path.mkdir, "no ordinary file"),
    "a link": (_link, "no ordinary file"),
    "too long": (_long, "at most"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
@pytest.mark.parametrize("file", UNET_FILES)
def test_a_runs_files_that_are_no_weights_are_one_line(
    file: str, kind: str, root: Path, tmp_path: Path, marker: Path, asked: list[service.Service], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where who writes to the registry has put something else in the place of unet.pt or unet.json."""
    run = _registered(root, f"unet-{file}-{kind.replace(' ', '-')}", root / "unet", tmp_path)
    client: Any = MlflowClient(tracking_uri(root))
    kept = Path(client.get_run(run).info.artifact_uri) / file
    kept.unlink()
    make, said = BAD_FILES[kind]
    make(kept)
    capsys.readouterr()
    assert _exit_code("serve", "--model", f"models:/unet-{file}-{kind.replace(' ', '-')}/1", "--port", _free_port()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("angiosynth: ")
    assert said in line
    assert not asked
    assert not marker.exists()


def test_an_alias_that_is_pointed_elsewhere_meanwhile_changes_nothing(
    root: Path, tmp_path: Path, asked: list[service.Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked up once; what was checked is what is served."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    sound = _registered(root, "unet-moved", root / "unet", tmp_path / "one")
    _registered(root, "unet-moved", tmp_path / "two", tmp_path / "two")
    client: Any = MlflowClient(tracking_uri(root))
    client.set_registered_model_alias("unet-moved", "ours", "1")
    from angiosynth.tracking.store import MlflowStore

    fetch, runs = MlflowStore.fetch_file, []

    def moving(store: MlflowStore, run: str, *rest: Any) -> None:
        client.set_registered_model_alias("unet-moved", "ours", "2")
        runs.append(run)
        fetch(store, run, *rest)

    monkeypatch.setattr(MlflowStore, "fetch_file", moving)
    assert _exit_code("serve", "--model", "models:/unet-moved@ours", "--port", _free_port()) == 0
    assert runs == [sound, sound]
    assert len(asked) == 1


def _loaders(text: str) -> Iterator[str]:
    """Imports and calls by which a file could run what it holds."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None) or ""}
            if {part for name in names for part in name.split(".")} & LOADERS and ast.unparse(node) not in HARMLESS:
                yield ast.unparse(node)
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        words = {word.arg: ast.unparse(word.value) for word in node.keywords}
        if called == "torch.load" and words.get("weights_only") != "True":
            yield called
        if called.endswith(".load") and words.get("allow_pickle", "False") != "False":
            yield called
        if called in CALLS:
            yield called


LOADERS = {"pickle", "cloudpickle", "dill", "joblib", "importlib", "load_model", "pyfunc", "runpy"}
HARMLESS = {"from pickle import UnpicklingError", "import pickle", "from importlib import metadata"}  # for the errors' names
CALLS = {"exec", "eval", "compile", "__import__", "torch.export.load", "torch.jit.load", "pickle.load", "pickle.loads", "pickle.Unpickler"}


def test_no_module_loads_what_could_run() -> None:
    found = {(path.name, name) for path in SOURCE.rglob("*.py") for name in _loaders(path.read_text(encoding="utf-8"))}
    by_names = {(name, "from importlib import import_module") for name in ("registry.py", "warm.py")}
    # A file that an export carries: its receiver runs it, beside the program that it loads.
    assert found == by_names | {("generate.py", "torch.export.load")}, "by names that stand in their code"


@pytest.mark.parametrize(
    "text",
    [
        "from pickle import loads",
        "pickle.loads(x)",
        "np.load(p, allow_pickle=True)",
        "from mlflow.pytorch import load_model",
        "import mlflow.pyfunc",
        "torch.load(p)",
        "torch.export.load(p)",
        "eval(x)",
    ],
)
def test_a_planted_loader_is_found(text: str) -> None:
    assert list(_loaders(text))
