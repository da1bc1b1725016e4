"""Follow the Dockerfile without Docker, as root on a Debian machine: a clean root by debootstrap, its lines in turn, then its user at work.

    python tests/docker_root.py /var/tmp/angiosynth-root

The file itself is read, so this cannot drift from it. FROM is replaced: debootstrap's smallest Debian of the release that the image's name
ends with, with that Debian's own Python. All else is done as Docker does it: RUN by /bin/sh in the root, as the last USER and in the last
WORKDIR, with ARG and ENV; COPY by .dockerignore. At the end HEALTHCHECK and a few commands run as the image's user, and sizes are
printed. Mounts are private to this process and end with it; the root is removed.

Where pip or apt reach their servers only through this machine's own settings, hand these in: --bind /etc/ssl/certs --env PIP_CERT=...
--build-arg TORCH_INDEX=.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MIRROR = "http://deb.debian.org/debian"
BASE = "ca-certificates,python3,python3-venv,python-is-python3"  # what the image python:slim has beyond a bare Debian
TINY = (
    "import yaml; from tests.factories import tiny_settings; print(yaml.safe_dump(tiny_settings().model_dump(mode='json', by_alias=True)))"
)
CHECKS = (
    "test $(id -u) != 0",
    "python cli.py --help > /dev/null",
    "make --dry-run demo | grep -q 'dvc repro' && ! make --dry-run demo | grep -q 'm venv'",  # the environment is found
    f'python -c "{TINY}" > /tmp/tiny.yaml && python cli.py phantom --params /tmp/tiny.yaml',
    "test -f data/phantom/site-a/sub-01/anat/sub-01_angio.nii.gz",
)


@dataclass
class Image:
    """What the lines so far have made of it."""

    root: Path
    user: str = "root"
    folder: str = "/"
    variables: dict[str, str] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)  # --env, for the building alone
    volumes: list[str] = field(default_factory=list)
    health: str = ""
    command: list[str] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)

    def run(self, command: str, building: bool = True) -> None:
        """A line of shell in the root; stops everything where it fails."""
        print(f"[{self.user}] {command}", flush=True)
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        home = "/root" if self.user == "root" else f"/home/{self.user}"
        variables = {"PATH": path, "HOME": home, "LANG": "C.UTF-8", **(self.given if building else {}), **self.variables}
        inside = f"cd {shlex.quote(self.folder)} && {command}"
        words = [
            "chroot",
            *([] if self.user == "root" else [f"--userspec={self.user}:{self.user}"]),
            str(self.root),
            "/bin/sh",
            "-c",
            inside,
        ]
        subprocess.run(words, env=variables, check=True)

    def size(self, place: str = "/") -> int:
        """Megabytes on disk, without what is mounted."""
        without = [f"--exclude={self.root}{path}" for path in ("/proc", "/dev", *self.bound)]
        done = subprocess.run(["du", "-sxm", *without, str(self.within(place))], capture_output=True, text=True, check=True)
        return int(done.stdout.split()[0])

    def within(self, path: str) -> Path:
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")


def lines(text: str) -> list[tuple[str, str]]:
    """Instructions and their words; comments left out, continued lines joined."""
    kept = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", "", kept).splitlines()
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined)]


def ignored(path: str, patterns: list[str]) -> bool:
    """By .dockerignore: a pattern holds for what lies below, too, and the last that fits counts."""
    answer = False
    for pattern in patterns:
        bare = pattern.lstrip("!").strip("/")
        regex = "".join({"**/": "(?:.*/)?", "*": "[^/]*"}.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*)", bare))
        if re.fullmatch(f"{regex}(/.*)?", path):
            answer = not pattern.startswith("!")
    return answer


def copy(image: Image, words: list[str]) -> None:
    owner = next((word.removeprefix("--chown=") for word in words if word.startswith("--chown=")), "root")
    sources, target = [word for word in words if not word.startswith("--")][:-1], image.within(words[-1])
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    for source in sources:
        found = [ROOT / source] if (ROOT / source).is_file() else sorted(path for path in (ROOT / source).rglob("*") if path.is_file())
        for path in found:
            relative = path.relative_to(ROOT)
            if not ignored(relative.as_posix(), patterns):
                (target / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / relative, follow_symlinks=False)
                inside = Path("/") / (target / relative).relative_to(image.root)
                paths = [inside, *(parent for parent in inside.parents if image.within(str(parent)).is_relative_to(target))]
                subprocess.run(["chroot", str(image.root), "chown", "-h", owner, *map(str, paths)], check=True)


def follow(image: Image, build_args: dict[str, str]) -> None:
    for word, rest in lines((ROOT / "Dockerfile").read_text()):
        print(f"== {word} {rest[:100]}", flush=True)
        if word == "ARG":
            name, _, default = rest.partition("=")
            image.variables[name] = build_args.get(name, default)
        elif word == "ENV":
            name, _, value = rest.partition("=")
            image.variables[name] = value.replace("$PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        elif word == "RUN":
            image.run(rest)
            print(f"   {image.size()} MB so far")
        elif word == "USER":
            image.user = rest
        elif word == "WORKDIR":
            image.folder = rest
            image.within(rest).mkdir(parents=True, exist_ok=True)  # root's, where it was not there
        elif word == "COPY":
            copy(image, shlex.split(rest))
        elif word == "VOLUME":
            image.volumes = json.loads(rest)
        elif word == "HEALTHCHECK":
            image.health = shlex.join(json.loads(rest.partition("CMD ")[2]))
        elif word == "CMD":
            image.command = json.loads(rest)
        elif word != "FROM":
            raise SystemExit(f"Dockerfile: {word} is not understood here; teach tests/docker_root.py")


def check(image: Image) -> None:
    """The image's user at its work."""
    for name in build_only():
        image.variables.pop(name, None)
    for volume in image.volumes:
        image.run(f"touch {volume}/.written && rm {volume}/.written", building=False)
    assert image.command == ["make", "demo"], image.command
    for command in (image.health, *CHECKS):
        image.run(command, building=False)


def build_only() -> list[str]:
    return [rest.partition("=")[0] for word, rest in lines((ROOT / "Dockerfile").read_text()) if word == "ARG"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="a new folder; removed at the end")
    parser.add_argument("--mirror", default=MIRROR)
    parser.add_argument("--base", default=BASE, help="Debian packages in FROM's place")
    parser.add_argument("--bind", action="append", default=[], help="a file or folder of this machine, seen at the same place, read-only")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE while building")
    parser.add_argument("--build-arg", action="append", default=[], help="NAME=VALUE, as docker build has it")
    parser.add_argument("--keep", action="store_true", help="leave the root")
    asked = parser.parse_args()
    root = asked.root.resolve()
    if os.environ.get("ANGIOSYNTH_OWN_MOUNTS") == "1":
        return build(root, asked)
    assert pwd.getpwuid(os.getuid()).pw_name == "root", "run it as root: debootstrap and chroot ask for it"
    assert not root.exists(), f"{root} is there already"
    words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
    done = subprocess.run(words, env={**os.environ, "ANGIOSYNTH_OWN_MOUNTS": "1"}, check=False)
    if not asked.keep:  # out here nothing is mounted in it
        shutil.rmtree(root, ignore_errors=True)
    raise SystemExit(done.returncode)


def build(root: Path, asked: argparse.Namespace) -> None:
    release = lines((ROOT / "Dockerfile").read_text())[0][1].rpartition("-")[2]
    subprocess.run(["debootstrap", "--variant=minbase", f"--include={asked.base}", release, str(root), asked.mirror], check=True)
    subprocess.run(["chroot", str(root), "apt-get", "clean"], check=True)
    image = Image(root, given=dict(pair.split("=", 1) for pair in asked.env), bound=asked.bind)
    print(f"   {image.size()} MB: the base", flush=True)
    for place in ("/proc", "/dev", "/etc/resolv.conf", *asked.bind):
        there = root / place.lstrip("/")
        if Path(place).is_dir():
            there.mkdir(parents=True, exist_ok=True)
        else:
            there.parent.mkdir(parents=True, exist_ok=True)
            there.touch()
        subprocess.run(["mount", "--rbind", place, str(there)], check=True)
        if place in asked.bind:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(there)], check=True)
    follow(image, dict(pair.split("=", 1) for pair in asked.build_arg))
    check(image)
    print(f"docker_root: every line followed; {image.size()} MB in all, {image.size('.venv')} MB of it .venv")


if __name__ == "__main__":
    main()
