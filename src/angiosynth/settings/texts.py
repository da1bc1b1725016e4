"""Texts that a user gives and that leave the house in a package: one line, nothing but words, links that are links."""

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
    """Why a text is no line of plain words, "" where it is one: empty, signs that cannot be seen, markup, too long."""
    if not text.strip():
        return "is empty"
    if any(unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for sign in text):
        return "holds a line end or a character that cannot be printed; write it in one line of plain words"
    if found := MARKUP.search(text):
        return f"holds {found[0]}, which is markup; write it in plain words"
    return f"is longer than {longest} characters; shorten it" if len(text) > longest else ""


def url_fault(text: str) -> str:
    """Why a text is no address of the web, "" where it is one: http or https, a host, nobody's login."""
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
    """Why a text is no licence: an SPDX identifier or words, or an address of the web."""
    if ":" in text:
        return url_fault(text)
    if fault := line_fault(text, LONGEST_LICENCE):
        return fault
    return "" if LICENCE.fullmatch(text) else "is no SPDX identifier such as CC-BY-4.0, no words and no address"


def escaped_markdown(text: str) -> str:
    """The text as Markdown shows it, word for word: no emphasis, no link made of an address, no formula, no entity."""
    quiet = re.sub(r"([\\`*_{}\[\]<>#!|~&$])", r"\\\1", text)
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", quiet.replace("://", "\\://").replace("@", "\\@"))
