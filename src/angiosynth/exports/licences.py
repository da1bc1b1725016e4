"""Convert the licence of a card to identifiers of dataset repositories."""

from __future__ import annotations

import re

CREATIVE_COMMONS = re.compile(r"https?://creativecommons\.org/licenses/([a-z-]+)/(\d\.\d)/?(deed\.\w+)?", re.IGNORECASE)
PUBLIC_DOMAIN = re.compile(r"https?://creativecommons\.org/publicdomain/zero/1\.0/?(deed\.\w+)?", re.IGNORECASE)
# Hugging Face and Zenodo both take these.
KNOWN = frozenset(
    f"cc-{kind}-{version}" for kind in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd") for version in ("2.0", "3.0", "4.0")
) | {"cc0-1.0", "apache-2.0", "mit"}


def licence_key(licence: str) -> str:
    """Identify a licence given by an address of Creative Commons or an SPDX identifier, such as "cc-by-4.0"; "" if unknown."""
    if match := CREATIVE_COMMONS.fullmatch(licence):
        key = f"cc-{match[1]}-{match[2]}".lower()
    else:
        key = "cc0-1.0" if PUBLIC_DOMAIN.fullmatch(licence) else licence.lower()
    return key if key in KNOWN else ""
