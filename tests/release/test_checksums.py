"""A list of checksums is read only where its names could be those of a package's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from angiosynth.errors import InputError
from angiosynth.release.checksums import verify

DIGEST = "0" * 64


@pytest.mark.parametrize(
    "name",
    ["a" * 256, "a\0b", "a\x1b[31mb", "audit\x00" * 400, "/etc/passwd", "../a", "a/../../b", " a"],
    ids=["long", "NUL", "escape", "long and NUL", "absolute", "above", "above by a detour", "blank first"],
)
def test_names_that_no_file_of_a_package_has_are_refused_in_a_short_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{DIGEST}  {name}\n")
    with pytest.raises(InputError, match="a line is no checksum of a file within") as refused:
        verify(tmp_path, None)
    assert len(str(refused.value)) < len(str(tmp_path)) + 100


def test_a_name_as_long_as_files_may_have_is_looked_for(tmp_path: Path) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{DIGEST}  {'a' * 255}\n")
    with pytest.raises(InputError, match="is missing, but SHA256SUMS lists it"):
        verify(tmp_path, None)
