"""Parse YAML to plain values, with limits on length, depth, digits and keys.

YAML 1.2, as DVC parses the same file: `yes` and `on` are texts, 010 is ten, 1e-5 is a number.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, YAMLError

MOST_YAML = 128 * 1024  # bytes; the parser reads 100 kB per second, and the longest profile has 4 kB
MOST_DEPTH = 16  # params.yaml has 4
MOST_DIGITS = 40  # of a number
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _BoundedComposer(Composer):
    """Refuses numbers with too many digits, whose parsing time grows with the square of their length."""

    def __init__(self, loader: Any = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False  # the warning would be printed

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if node.tag in NUMBERS and len(node.value) > MOST_DIGITS:
            raise ComposerError(None, None, "a number of too many digits", node.start_mark)
        return node


def parse_yaml(text: str) -> Any:
    """Parse a YAML text.

    Raises:
        ValueError: it is not YAML, or contains a duplicate key, a number of more than MOST_DIGITS digits or nesting beyond MOST_DEPTH. The
            message states the line, " line 3", if it is known.
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
        raise ValueError("") from error  # raised by constructors: `!!bool maybe`, `!!timestamp soon`, 2024-99-99
