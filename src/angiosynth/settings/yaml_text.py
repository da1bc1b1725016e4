"""YAML as plain values, within limits of length, depth, digits and keys.

Version 1.2 of YAML, as DVC reads the same file: `yes` and `on` are texts, 010 is ten, 1e-5 is a number.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

MOST_YAML = 128 * 1024  # bytes; the parser reads a hundred kB a second, and the longest profile has four
MOST_DEPTH = 16  # params.yaml has 4
MOST_DIGITS = 40  # of a number
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _BoundedComposer(Composer):
    """Refuses endless numbers, which take time that grows with the square of their length."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # would be printed

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if node.tag in NUMBERS and len(node.value) > MOST_DIGITS:
            raise ComposerError(None, None, "a number of too many digits", node.start_mark)
        return node


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is no YAML, holds a key twice in one mapping, a number of more than MOST_DIGITS digits or nesting beyond MOST_DEPTH.
            The text says in which line, " line 3", where that is known.
    """
    parser = YAML(typ="safe", pure=True)
    parser.Composer = _BoundedComposer
    parser.max_depth = MOST_DEPTH
    try:
        return parser.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ValueError(f" line {mark.line + 1}" if mark else "") from error
    except (YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, AssertionError, RecursionError) as error:
        raise ValueError("") from error  # of constructors: `!!bool maybe`, `!!timestamp soon`, 2024-99-99
