"""The workspace of the stages' tests, for commands that stand on stages."""

from __future__ import annotations

from tests.stages.conftest import _prepared, home, model, tried_once

__all__ = ["_prepared", "home", "model", "tried_once"]
