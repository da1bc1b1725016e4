"""Remove passwords and tokens from everything that is shown, recorded or written; every message passes through one function.

Two measures. Known secrets (environment variables with typical names, passwords in their URIs) are replaced everywhere, in every encoding.
Texts that look like secrets (`://user:...@`, `password=...`, `Bearer ...`, tokens in well-known formats) are replaced as well.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from angiosynth.errors import printable, printable_lines

HIDDEN = "***"
SHORTEST = 4  # characters; shorter secrets occur by chance in too many words
NAMED_SECRET = re.compile(r"(PASSWORD|PASSWD|PASSPHRASE|TOKEN|SECRET|((ACCESS|API|PRIVATE|ACCOUNT|SECRET)_?KEY)|CONNECTION_STRING)$", re.I)
STRONG = r"(?:password|passwd|passphrase|pwd|token|secret|(?:api|access|secret|account|private)[_-]?key)"
WEAK = r"(?:pass|signature|sig|credentials?)"  # also occur in prose, so they count only before an equals sign
VALUE = r"""(?:'(?:\\.|''|[^'\\])*'|"(?:\\.|""|[^"\\])*"|[^\s&;,'"<>)}\]]+)"""
EQUALS, COLON = r"""["']?\s*(?:=|%3D)\s*""", r"""["']?\s*:(?!//)\s*"""
KEYED = re.compile(rf"((?<![\w.-])[\w.-]*(?:{STRONG}(?:{EQUALS}|{COLON})|(?<![A-Za-z0-9]){WEAK}{EQUALS}))({VALUE})", re.I)
# A single slash occurs if a URI was treated as a path. The last @ before a space ends the login, since passwords may contain an @. For
# http the digits before a slash are the port, and an @ may follow in the path.
PAGE = r"""https?://?[^:/?#\s@'"]*:(?!\d{1,5}[/?#])"""
IN_URI = re.compile(rf"""((?<![a-z0-9+.-])(?!https?:/)[a-z][a-z0-9+.-]*://?[^:/?#\s@'"]*:|{PAGE})[^\s'"<>]*@""", re.I)
USER_OF_A_PAGE = re.compile(r"""(https?://?)[^\s:/@'"]+@""", re.I)  # a token in place of the user name
HEADER = re.compile(r"""(authorization["']?\s*[:=]\s*["']?)(?:(basic|bearer|token|digest|negotiate)\s+)?[^\s"',}]+""", re.I)
BEARER = re.compile(r"\b(bearer)\s+[\w.~+/=-]{4,}", re.I)
MADE_KNOWN = re.compile(
    r"dapi[0-9a-f]{32}(?:-\d+)?|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|xox[abeprs]-[\w-]{10,}|\bsk-[\w-]{20,}|"
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*|"
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)",
    re.DOTALL,
)


def without_secrets(text: str) -> str:
    """Replace each secret in a text by ***."""
    for secret in sorted(set(_known()), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = HEADER.sub(lambda match: f"{match[1]}{match[2] + ' ' if match[2] else ''}{HIDDEN}", text)
    text = IN_URI.sub(lambda match: f"{match[1]}{HIDDEN}@", text)
    text = USER_OF_A_PAGE.sub(lambda match: f"{match[1]}{HIDDEN}@", text)
    text = KEYED.sub(lambda match: match[1] + HIDDEN, text)
    text = BEARER.sub(lambda match: f"{match[1]} {HIDDEN}", text)
    return MADE_KNOWN.sub(HIDDEN, text)


def hide_secrets_in_tracebacks_and_logs() -> None:
    """Remove secrets and control characters from uncaught exceptions, and from log lines and warnings of other packages."""

    def shown(kind: type[BaseException], error: BaseException, trace: object) -> None:
        del kind, trace
        print(_shown("".join(traceback.format_exception(error))), file=sys.stderr, end="")

    def in_thread(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_value is not None:
            shown(arguments.exc_type, arguments.exc_value, None)

    def warned(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        print(printable(without_secrets(f"{category.__name__}: {message}")), file=sys.stderr)

    sys.excepthook, threading.excepthook, warnings.showwarning = shown, in_thread, warned
    warnings.filterwarnings("ignore", "Detected pickle protocol")  # torch warns of files that it then refuses; the refusal is reported
    made = logging.getLogRecordFactory()
    if getattr(made, "hides_secrets", False):
        return

    def factory(*args: object, **kwargs: object) -> logging.LogRecord:
        record = made(*args, **kwargs)
        record.msg, record.args = _shown(record.getMessage()), None
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _shown("".join(traceback.format_exception(record.exc_info[1])).rstrip())
        return record

    factory.hides_secrets = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(factory)


def _shown(text: str) -> str:
    return printable_lines(without_secrets(text).split("\n"))


def _known() -> Iterator[str]:
    """Secrets in environment variables, in every encoding in which they may appear."""
    for name, value in os.environ.items():
        if NAMED_SECRET.search(name):
            yield from _spellings(value)
        if login := re.match(r"\s*[\w+.-]+://([^:/?#\s]*):(.*)@", value):
            yield from _of_login(unquote(login[1]), login[2])
        if re.match(r"\s*(?:\w+\s*=|[\w+.-]+://)", value):  # a URI with a query, or a driver's keywords
            for match in KEYED.finditer(value):
                yield from _spellings(match[2].strip("'\""))


def _of_login(user: str, password: str) -> Iterator[str]:
    """The password, its pieces (a driver may parse one as the host if an @ or slash is not escaped), and the login of HTTP Basic."""
    yield from _spellings(password)
    for piece in re.split(r"[@:/?#]", password):
        if piece != password:
            yield from _spellings(piece)
    if len(password) >= SHORTEST:
        yield base64.b64encode(f"{user}:{unquote(password)}".encode()).decode()


def _spellings(secret: str) -> Iterator[str]:
    for plain in {secret, unquote(secret), unquote_plus(secret)}:
        if len(plain) < SHORTEST:
            continue
        yield from {plain, quote(plain), quote(plain, safe=""), quote_plus(plain), quote(plain, safe="").lower()}
        yield from {repr(plain)[1:-1], json.dumps(plain)[1:-1], plain.encode("unicode_escape").decode()}
