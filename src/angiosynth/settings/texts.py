"""Check texts that are included in a package: one line of plain words, well-formed addresses."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

# Longer than any name or address, and still readable as one line.
LONGEST_LINE, LONGEST_REASON, LONGEST_URL, LONGEST_LICENCE = 200, 500, 500, 100
MARKUP = re.compile(r"[<>\[\]{}`|\\]|&(#\w+|\w{2,});")
LICENCE = re.compile(r"\w[\w .,()+/'-]*")  # an SPDX expression or plain words; without a colon, which could begin a link
NOT_IN_URL = re.compile(r"[\s<>\"'`{}|\\^\[\]]")
HOST = re.compile(r"(?=.{1,253}$)\w([\w-]*\w)?(\.\w([\w-]*\w)?)*\.?")


def line_fault(text: str, longest: int = LONGEST_LINE) -> str:
    """Find the fault of a text that must be one line of plain words (empty, invisible characters, markup, length); "" if there is none."""
    if not text.strip():
        return "is empty"
    if any(unicodedata.category(sign) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} for sign in text):
        return "holds a line end or a character that cannot be printed; write it in one line of plain words"
    if match := MARKUP.search(text):
        return f"holds {match[0]}, which is markup; write it in plain words"
    return f"is longer than {longest} characters; shorten it" if len(text) > longest else ""


def url_fault(text: str) -> str:
    """Find the fault of a text that must be a web address with http or https, a host and no login; "" if there is none."""
    wrong = "is no address such as https://lab.example/set"
    if NOT_IN_URL.search(text) or line_fault(text, LONGEST_URL):
        return f"{wrong}: it holds a sign that belongs into none, or is longer than {LONGEST_URL} characters"
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        return wrong
    if address.scheme not in {"http", "https"}:
        return f"{wrong}: it has to begin with http:// or https://"
    if "@" in address.netloc:
        return f"{wrong}: it holds a login; leave that out"
    if not address.hostname or not HOST.fullmatch(address.hostname) or port == 0:
        return f"{wrong}: it names no host"
    return ""


def licence_fault(text: str) -> str:
    """Find the fault of a text that must be a licence (SPDX identifier, plain words or web address); "" if there is none."""
    if ":" in text:
        return url_fault(text)
    if fault := line_fault(text, LONGEST_LICENCE):
        return fault
    return "" if LICENCE.fullmatch(text) else "is no SPDX identifier such as CC-BY-4.0, no words and no address"


def escaped_markdown(text: str) -> str:
    """Escape a text so that Markdown renders it literally, without emphasis, links, formulas or entities."""
    quiet = re.sub(r"([\\`*_{}\[\]<>#!|~&$])", r"\\\1", text)
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", quiet.replace("://", "\\://").replace("@", "\\@"))
