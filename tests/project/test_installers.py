"""docs/install.md in empty environments: uv and pipx install the wheel with all it needs, and a project of it gets to a report.

Gigabytes and minutes, so it runs only where ANGIOSYNTH_INSTALLERS names a folder with the programs uv and pipx, such as that of
`python -m pip install uv pipx`. Indexes are set by the installers' own variables (UV_FIND_LINKS, PIP_INDEX_URL and the like).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documented import environment
from tests.factories import full_params, tiny_tree
from tests.project.wheels import build_wheel

WAYS = {
    "uv-environment": (
        "uv venv --python 3.11 vessels-env",
        ". vessels-env/bin/activate",
        "uv pip install dist/angiosynth-*.whl",
    ),
    "uv-tool": (
        "uv tool install --python 3.11 dist/angiosynth-*.whl",
        'export PATH="$(uv tool dir)/angiosynth/bin:$PATH"',
    ),
    "pipx": (
        "pipx install dist/angiosynth-*.whl",
        'export PATH="$(pipx environment --value PIPX_LOCAL_VENVS)/angiosynth/bin:$PATH"',
    ),
}
MAKE = ("angiosynth demo -o demo", "cd demo")
REPRODUCED = "uv-tool"  # the others end with doctor, since a report takes minutes
pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's home with the wheel in dist/."""
    if "ANGIOSYNTH_INSTALLERS" not in os.environ:
        pytest.skip("gigabytes: name the folder of the programs uv and pipx in ANGIOSYNTH_INSTALLERS")
    home = tmp_path_factory.mktemp("home")
    build_wheel(home)
    (home / ".local" / "bin").mkdir(parents=True)
    (home / ".local" / "bin" / "python3.11").symlink_to(os.path.realpath(sys.executable))
    return home


def tiny_params() -> str:
    """The tiny settings with one generator."""
    tree = tiny_tree()
    tree["generators"] = {"wgan-gp": tree["generators"]["wgan-gp"]}
    return full_params(tree)


@pytest.mark.parametrize("way", WAYS)
def test_an_empty_environment_gets_to_a_report(way: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "dist").symlink_to(home / "dist")
    (tmp_path / "tiny.yaml").write_text(tiny_params())
    installers = os.environ["ANGIOSYNTH_INSTALLERS"]
    words = {name: value for name, value in environment().items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words |= {"HOME": str(home), "PATH": f"{home}/.local/bin:{installers}:/usr/bin:/bin", "PIPX_DEFAULT_PYTHON": sys.executable}
    last = "cp ../tiny.yaml params.yaml && python cli.py repro" if way == REPRODUCED else "python cli.py doctor"
    script = "\n".join(("set -e", *WAYS[way], *MAKE, last))
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    if way == REPRODUCED:
        assert "DSC" in (tmp_path / "demo" / "report" / "index.html").read_text(encoding="utf-8")
    else:
        assert "as angiosynth needs them" in done.stdout
