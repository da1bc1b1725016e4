"""YAML as plain values, within limits: PyYAML's safe loader takes keys twice, follows any nesting and raises many kinds of errors."""

from __future__ import annotations

from typing import Any

import yaml

MOST_YAML = 128 * 1024  # bytes; PyYAML reads a hundred kB a second, and the longest profile has four
MOST_DEPTH = 16  # params.yaml has 4
MOST_DIGITS = 40  # of a number


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses keys that stand twice, deep nesting and endless numbers."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise yaml.composer.ComposerError(None, None, "nested too deep", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.composer.ComposerError(None, None, "a key stands twice", key.start_mark)
                seen.add((key.tag, key.value))
        return node

    def compose_scalar_node(self, anchor: Any) -> Any:
        node = super().compose_scalar_node(anchor)
        if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and len(node.value) > MOST_DIGITS:
            raise yaml.composer.ComposerError(None, None, "a number of too many digits", node.start_mark)
        return node


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        ValueError: it is no YAML, holds a key twice in one mapping, a number of more than MOST_DIGITS digits or nesting beyond MOST_DEPTH.
            The text says in which line, " line 3", where that is known.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(f" line {mark.line + 1}" if mark else "") from error
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError("") from error  # of constructors: `!!bool maybe`, `!!timestamp soon`, 2024-99-99
