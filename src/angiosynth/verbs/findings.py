"""One line of doctor's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`advice` is empty where all is well; `fault` where nothing will run as it is."""

    what: str
    found: str
    advice: str = ""
    fault: bool = False

    @property
    def state(self) -> str:
        return "fault" if self.fault else "note" if self.advice else "ok"
