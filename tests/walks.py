"""The two walk-throughs of docs/: their commands are run in the order of the page, on drawn heads, with settings as small as they go.

    python -m tests.walks

runs both, three minutes of a core's time, and writes what the commands printed into the pages; tests/test_walks.py compares.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.documented import ROOT, clone_of_the_project, commands_of, run
from tests.factories import full_params, tiny_tree

SENDER, RECEIVER = ROOT / "docs" / "walk-own-scans.md", ROOT / "docs" / "walk-receiving.md"
STEP = re.compile(r"(?P<shell>^```sh\n(?P<commands>.*?)^```\n\n)^```text\n(?P<output>.*?)^```\n", re.MULTILINE | re.DOTALL)
EDIT = re.compile(r"^```yaml\n(?P<text>.*?)^```\n", re.MULTILINE | re.DOTALL)
NAMES = ("Keller", "Nowak", "Rossi", "Varga")  # of nobody
REFUSED = "python cli.py release vessels-1 --model wgan-gp"  # its audit speaks against it: exit code 2
# Progress, which depends on the machine's speed, and the lines of DVC around each stage.
LEFT_OUT = re.compile(r".* left$|.* left for all$|.*: \d+/\d+( in .*)?$|\d+ stages.* on .*|(Generating|Updating) lock file.*|> .*|\s*$")
NUMBER = re.compile(r"[+-]?\d+(?:[.,:]\d+)*|\b(?:nan|inf)\b")
RESULT = re.compile(r"\d\.\d|\d%")
DIGEST = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{16}|[0-9a-f]{7})\b|SHA256:\S+")


@dataclass(frozen=True)
class Walk:
    """A page, and what its commands need.

    Attributes:
        page: of docs/.
        home: a folder; the commands run in home/project.
        places: what stands for the page's examples of paths.
        generators: of the settings.
    """

    page: Path
    home: Path
    places: Mapping[str, str]
    generators: tuple[str, ...] = ("wgan-gp",)

    @property
    def project(self) -> Path:
        return self.home / "project"

    def outputs(self) -> list[str]:
        """Run the page's commands; what each block printed, without progress. A block in yaml becomes settings."""
        text = self.page.read_text(encoding="utf-8")
        blocks: list[re.Match[str]] = sorted((*STEP.finditer(text), *EDIT.finditer(text)), key=lambda block: block.start())
        printed = []
        for block in blocks:
            if block.re is EDIT:
                (self.project / "params.yaml").write_text(_params(yaml.safe_load(block["text"]), self.generators))
            else:
                printed.append(self.output(block["commands"]))
        return printed

    def output(self, commands: str) -> str:
        """Run the commands of one block."""
        return "".join(self._printed(command) for command in commands_of(commands))

    def _printed(self, command: str) -> str:
        code = 2 if command == REFUSED else 0
        said = run(self.project, command, self.places, code)
        for example, place in {**self.places, "PROJECT": str(self.project)}.items():
            said = said.replace(place, example)
        return "".join(f"{line}\n" for line in said.splitlines() if not LEFT_OUT.fullmatch(line))


def _params(sections: Mapping[str, Any], generators: tuple[str, ...]) -> str:
    """The tiny settings with the sections of a page."""
    tree = {**tiny_tree(), "phantom": {"sites": {}}, **sections}
    tree["synthesis"] = {**tree["synthesis"], "labels": "unet"}  # as in the demo
    tree["generators"] = {name: tree["generators"][name] for name in generators}
    return full_params(tree)


def walk_of_the_sender(home: Path) -> Walk:
    """A lab's folder of scans, named after nobody, and an empty project."""
    (home / "project").mkdir(parents=True)
    clone_of_the_project(home / "project", stages_but("phantom"))
    draw(home, "sender", home / "scans")
    run(home, "ssh-keygen -q -t ed25519 -N '' -C '' -f release-key")
    return Walk(SENDER, home, {"/where/they/are": str(home / "scans"), "KEY": str(home / "release-key")})


def walk_of_the_receiver(home: Path, sender: Walk) -> Walk:
    """The sender's package and key, and scans of another hospital."""
    (home / "project").mkdir(parents=True)
    clone_of_the_project(home / "project", ["phantom", "cohort", "patches", "select-unet"])
    shutil.copytree(sender.project / "releases" / "vessels-1", home / "project" / "vessels-1")
    shutil.copy(sender.home / "release-key.pub", home / "project" / "sender.pub")
    draw(home, "receiver", home / "scans")
    return Walk(RECEIVER, home, {"/where/they/are": str(home / "scans")})


def stages_but(name: str) -> list[str]:
    return [stage for stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"] if stage != name]


def draw(home: Path, site: str, folder: Path) -> None:
    """Heads of the phantom as a lab might keep its files."""
    tree = tiny_tree()
    tree["phantom"]["sites"][site] = tree["phantom"]["sites"]["site-b"]
    (home / "drawing").mkdir()
    (home / "drawing" / "params.yaml").write_text(yaml.safe_dump(tree))
    run(home / "drawing", f"PYTHONPATH='{ROOT / 'src'}' python '{ROOT / 'cli.py'}' phantom --site {site}")
    folder.mkdir()
    patients = sorted((home / "drawing" / "data" / "phantom" / site).glob("sub-*"))
    for name, patient in zip(NAMES, patients, strict=True):
        for pattern, ending in (("*_angio.nii.gz", "tof"), ("*vessel_mask.nii.gz", "vessels"), ("*brain_mask.nii.gz", "brain")):
            (path,) = patient.rglob(pattern)
            shutil.copy(path, folder / f"{name}_{ending}.nii.gz")


def comparable(output: str) -> list[str]:
    """Lines without what differs between machines: numbers, digests, git's name of the branch, and what a line says of its measurements.

    Other processors round otherwise, so a line with a fraction or a percentage is a result: its first two words are compared.
    """
    lines = [re.sub(r"^\[\S+ ", "[branch ", line) for line in output.splitlines()]
    lines = [" ".join(line.split()[:2]) if RESULT.search(line) else line for line in lines]
    return [NUMBER.sub("0", DIGEST.sub("x", line)).rstrip() for line in lines]


def steps(page: Path) -> list[tuple[str, str]]:
    """The commands and the output of each block of a page."""
    return [(step["commands"], step["output"]) for step in STEP.finditer(page.read_text(encoding="utf-8"))]


def write(page: Path, outputs: list[str]) -> None:
    """Put outputs into the page, in the order of its blocks."""
    remaining = iter(outputs)

    def replaced(step: re.Match[str]) -> str:
        return f"{step['shell']}```text\n{next(remaining)}```\n"

    page.write_text(STEP.sub(replaced, page.read_text(encoding="utf-8")), encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        sender = walk_of_the_sender(Path(folder) / "sender")
        write(SENDER, sender.outputs())  # before the receiver's, which needs the sender's package
        write(RECEIVER, walk_of_the_receiver(Path(folder) / "receiver", sender).outputs())


if __name__ == "__main__":
    main()
