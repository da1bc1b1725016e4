"""Cache of an audit's results that do not depend on the generator: computed once, and read by the audits of all generators.

These are features of real patches, thresholds from people who were not trained on, controls, and the results of the overfitted generator.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from angiosynth.errors import InputError
from angiosynth.runtime.output import read_json, write_json

T = TypeVar("T", bound=Mapping[str, Any])
VALUES, ARRAYS = "references.json", "references.npz"
ARRAY = "array "  # prefix of the text that replaces an array in the JSON file, followed by the array's number


class References:
    """Results by name; each is a tree of dictionaries and lists whose leaves are arrays, numbers, texts and truth values.

    Args:
        results: results that were computed before.
    """

    def __init__(self, results: Mapping[str, Any] | None = None) -> None:
        self._results = dict(results or {})

    def get(self, name: str, compute: Callable[[], T]) -> T:
        """Return the result of this name; compute and keep it if it is not there yet."""
        if name not in self._results:
            self._results[name] = compute()
        result: T = self._results[name]
        return result

    def save(self, folder: Path, key: str) -> None:
        """Write all results.

        Args:
            folder: an existing folder; the files are as confidential as the patches that they were computed from.
            key: digest of everything that the results depend on.
        """
        arrays: dict[str, Any] = {}
        write_json(folder / VALUES, {"key": key, "results": _without_arrays(self._results, arrays)})
        np.savez(folder / ARRAYS, **arrays)

    @classmethod
    def load(cls, folder: Path, key: str) -> References | None:
        """Read what `save` wrote; None if there is nothing or if its key differs.

        Raises:
            InputError: a file is damaged.
        """
        if not (folder / VALUES).is_file():
            return None
        try:
            content = read_json(folder / VALUES)
            if content["key"] != key:
                return None
            with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
                return cls(_with_arrays(content["results"], arrays))
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{folder}: damaged; run `dvc repro audit-references` to make it anew") from error


def _without_arrays(tree: Any, arrays: dict[str, Any]) -> Any:
    """Replace the arrays of a tree by names, and store them in `arrays` under these names; returns a tree that JSON can hold."""
    if isinstance(tree, np.ndarray):
        name = f"{ARRAY}{len(arrays)}"
        arrays[name] = tree
        return name
    if isinstance(tree, Mapping):
        return {name: _without_arrays(value, arrays) for name, value in tree.items()}
    return [_without_arrays(value, arrays) for value in tree] if isinstance(tree, list | tuple) else tree


def _with_arrays(tree: Any, arrays: Mapping[str, Any]) -> Any:
    """The inverse of `_without_arrays`."""
    if isinstance(tree, str) and tree.startswith(ARRAY):
        return arrays[tree]
    if isinstance(tree, dict):
        return {name: _with_arrays(value, arrays) for name, value in tree.items()}
    return [_with_arrays(value, arrays) for value in tree] if isinstance(tree, list) else tree
