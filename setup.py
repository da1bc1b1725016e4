"""Adds the files that a project folder is made of to the wheel; all else of the build stands in pyproject.toml."""

import runpy
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class WithProjectFiles(build_py):
    """Copies them from the repository's root, where they have their one place, beside the package's modules."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # an editable install uses the repository's
        names = runpy.run_path(str(ROOT / "src/angiosynth/project/files.py"))
        for name in names["FILES"]:
            target = Path(self.build_lib, "angiosynth", names["FOLDER"], name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


setup(cmdclass={"build_py": WithProjectFiles})
