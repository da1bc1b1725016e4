"""Checks of texts that go into a package: plain words in one line, well-formed addresses."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

# More than anybody's name or address needs, and still a line that a reader takes in.
LONGEST_LINE, LONGEST_REASON, LONGEST_URL, LONGEST_LICENCE = 200, 500, 500, 100
MARKUP = re.compile(r"[<>\[\]{}`|\\]|&(#\w+|\w{2,});")
LICENCE = re.compile(r"\w[\w .,()+/'-]*")  # an SPDX expression, or words; no colon, which would begin a link of some kind
NOT_IN_URL = re.compile(r"[\s<>\"'`{}|\\^\[\]]")
HOST = re.compile(r"(?=.{1,253}$)\w([\w-]*\w)?(\.\w([\w-]*\w)?)*\.?")


def line_fault(text: str, longest: int = LONGEST_LINE) -> str:
    """The fault of a text that should be a line of plain words, "" if it has none: empty, invisible characters, markup, too long."""
    if not text.strip():
        return "is empty"
    if any(unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for sign in text):
        return "holds a line end or a character that cannot be printed; write it in one line of plain words"
    if match := MARKUP.search(text):
        return f"holds {match[0]}, which is markup; write it in plain words"
    return f"is longer than {longest} characters; shorten it" if len(text) > longest else ""


def url_fault(text: str) -> str:
    """The fault of a text that should be a web address, "" if it has none: http or https, a host, no login."""
    wrong = "is no address such as https://lab.example/set"
    if NOT_IN_URL.search(text) or line_fault(text, LONGEST_URL):
        return f"{wrong}: it holds a sign that belongs into none, or is longer than {LONGEST_URL} characters"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return wrong
    if parts.scheme not in {"http", "https"}:
        return f"{wrong}: it has to begin with http:// or https://"
    if "@" in parts.netloc:
        return f"{wrong}: it holds a login; leave that out"
    if not parts.hostname or not HOST.fullmatch(parts.hostname) or port == 0:
        return f"{wrong}: it names no host"
    return ""


def licence_fault(text: str) -> str:
    """The fault of a text that should be a licence (SPDX identifier, words or web address), "" if it has none."""
    if ":" in text:
        return url_fault(text)
    if fault := line_fault(text, LONGEST_LICENCE):
        return fault
    return "" if LICENCE.fullmatch(text) else "is no SPDX identifier such as CC-BY-4.0, no words and no address"


def escaped_markdown(text: str) -> str:
    """Escape a text so that Markdown shows it literally: no emphasis, link, formula or entity."""
    quiet = re.sub(r"([\\`*_{}\[\]<>#!|~&$])", r"\\\1", text)
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", quiet.replace("://", "\\://").replace("@", "\\@"))
