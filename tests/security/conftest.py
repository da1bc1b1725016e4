"""What a package is made of, as the tests of the release have it."""

from __future__ import annotations

from tests.release.conftest import audited, package, synthetic

__all__ = ["audited", "package", "synthetic"]
