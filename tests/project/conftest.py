"""The workspace of the stages' tests: what a project needs is seen best in one."""

from __future__ import annotations

from tests.stages.conftest import _prepared, home, model, tried_once

__all__ = ["_prepared", "home", "model", "tried_once"]
