"""Define one line of doctor's table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        subject: the checked thing, such as "disk".
        result: its state, in words.
        advice: how to repair it; "" if the check passed.
        fault: whether it prevents the stages from running.
    """

    subject: str
    result: str
    advice: str = ""
    fault: bool = False

    @property
    def state(self) -> str:
        return "fault" if self.fault else "note" if self.advice else "ok"
