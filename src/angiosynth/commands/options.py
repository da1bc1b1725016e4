"""Define the options that several commands share: names of models and data, and the settings file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from angiosynth.errors import InputError

if TYPE_CHECKING:
    from angiosynth.settings import Settings

PARAMS = Path("params.yaml")


def settings_of(path: Path) -> Settings:
    """Read and validate params.yaml."""
    from angiosynth.settings import load_settings

    return load_settings(path)


def one_of(settings: Settings, option: str, name: str, *others: str) -> str:
    """Check that a name is that of a generator or one of `others`, and return it.

    Raises:
        InputError: it is neither; the message lists the known names.
    """
    known = (*others, *settings.generators)
    if name not in known:
        raise InputError(f"{option} {name}: there is none such; there are {', '.join(known)} (params.yaml, section generators)")
    return name


def generator_names(incomplete: str) -> list[str]:
    """List the generators of params.yaml, for the shell's completion."""
    try:
        names = list(settings_of(PARAMS).generators)
    except InputError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def site_of(settings: Settings, name: str | None) -> str | None:
    """Check that a name is that of a site of section `cohort`, and return it; None means all sites.

    Raises:
        InputError: no site has this name.
    """
    if name is not None and name not in settings.cohort.sites:
        raise InputError(f"--site {name}: there is none such; there are {', '.join(settings.cohort.sites)} (params.yaml, cohort.sites)")
    return name


def _with(*others: str) -> Callable[[str], list[str]]:
    return lambda incomplete: [*(name for name in others if name.startswith(incomplete)), *generator_names(incomplete)]


Params = Annotated[Path, typer.Option("--params", help="The settings file.")]
Site = Annotated[str | None, typer.Option("--site", help="One site of params.yaml, cohort.sites; by default all.")]
Model = Annotated[str, typer.Option("--model", help="A generator of params.yaml, section generators.", autocompletion=generator_names)]
Data = Annotated[
    str, typer.Option("--data", help="Train on real patches (real), or on a generator's synthetic ones.", autocompletion=_with("real"))
]
Few = Annotated[
    str,
    typer.Option(
        "--data", help="Train on patches of few patients alone (real), or together with a generator's set.", autocompletion=_with("real")
    ),
]
Scored = Annotated[
    str,
    typer.Option(
        "--data",
        help="The U-net trained on this data (real or a generator's name), or the best global threshold (threshold).",
        autocompletion=_with("real", "threshold"),
    ),
]
Start = Annotated[
    str,
    typer.Option(
        "--start",
        help="From scratch (scratch), or pre-trained on this data (real, a generator's name, package).",
        autocompletion=_with("scratch", "real", "package"),
    ),
]
