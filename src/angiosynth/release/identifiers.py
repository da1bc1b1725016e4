"""Search a package for identifiers: names and paths of patients, of this machine and of its user.

A name matches as a whole word, in any case, Unicode form and encoding (escaped, percent-encoded, compressed). Patient names and paths are
never allowed. Names of logins, machines and folders are often ordinary words: those in the fixed texts of every package are ignored, and
the user may allow others.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import angiosynth
from angiosynth.errors import InputError
from angiosynth.importing.name_words import forms_in, words_in
from angiosynth.importing.originals import Originals
from angiosynth.reading import read_bytes, read_text
from angiosynth.release.formats import Format, format_of

MOST_FILE = 8 << 30  # bytes; the files have just been written by this program
SHORTEST = 2  # characters of a name
SHORTEST_IN_BYTES = 5  # shorter byte strings occur by chance among a million pixels
# Sources of the fixed texts of a package: card, README and loader, page and keys of the audit.
PAGE = ("audit.html", "base.html", "macros.html", "style.css")
TEXTS = (
    *("release/card.py", "release/croissant.py", "release/signature.py", "settings", "privacy/shared.py", "privacy/verdict.py"),
    *("report/audit_page.py", "report/audit_tables.py", *(f"report/templates/{name}" for name in PAGE)),
)
EXPORTED = (*TEXTS, "exports", "exports/receivers")  # of an export
WORD = re.compile(r"[^\W_]+")
NO_WORDS = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+|\b[0-9a-f]{16,}\b")  # embedded images, digests
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")  # escape sequences of JSON and Python
HOST = re.compile(r"xn--[a-z0-9-]+", re.IGNORECASE | re.ASCII)
NO_ORIGINALS = Originals()


@dataclass(frozen=True)
class Identifiers:
    """Names and paths that a package must not contain.

    Attributes:
        secret: patient names and paths, which are never allowed.
        words: name -> description, for names that may be ordinary words.
        allowed: those of `words`, and of the words of `originals`, that the package may contain.
        originals: words of the names that patients had before the import.
    """

    secret: Sequence[str] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    allowed: Iterable[str] = ()
    originals: Originals = NO_ORIGINALS


def refuse_originals(texts: Mapping[str, str], identifiers: Identifiers) -> None:
    """Check that texts contain no word of a patient name, including names before the import, in any order of the words.

    Args:
        texts: description -> text.
        identifiers: the names.

    Raises:
        InputError: a text contains one; the message states which text and whose name, but not the name.
    """
    allowed = _allowed_forms(identifiers.allowed)
    for description, text in texts.items():
        _refuse(description, identifiers.originals.whose({form for read in _readings(text) for form in forms_in(read)} - allowed))


def _refuse_originals_within(folder: Path, identifiers: Identifiers, formats: Mapping[str, Format], texts: tuple[str, ...]) -> None:
    """As `refuse_originals`, for all files of a package and their file names. Words of the fixed texts are ignored."""
    allowed = _allowed_forms(identifiers.allowed) | _fixed_forms(texts)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    held = {path: words_in(path.relative_to(folder).as_posix()) for path in files}
    for path in files:
        if _known_format(folder, path, formats).text:
            text = NO_WORDS.sub(" ", read_text(path, MOST_FILE))
            held[path] |= {word for read in _readings(text) for word in words_in(read)}
    for path, words in held.items():
        _refuse(path.relative_to(folder).as_posix(), identifiers.originals.whose(words - allowed))
        allowed |= words  # checked; thousands of files in a folder share these words


def _allowed_forms(allowed: Iterable[str]) -> set[str]:
    """Forms of the allowed words, and of pairs of them."""
    words = list(allowed)
    return {form for pair in itertools.product(words, repeat=2) for form in forms_in(" ".join(pair))}


def _readings(text: str) -> set[str]:
    """A text, and its decoded forms: HTML entities, percent and JSON escapes, internationalised host names."""
    read = html.unescape(unquote(ESCAPED.sub(lambda sign: chr(int(sign[1], 16)), text)))
    return {text, read, HOST.sub(_letters_of_host, read)}


def _letters_of_host(match: re.Match[str]) -> str:
    try:
        return match[0].encode("ascii").decode("idna")
    except UnicodeError:
        return match[0]


def _refuse(description: str, whose: str) -> None:
    if whose:
        advice = "take it out, or where it is no more than a word, name it with --allow-word"
        raise InputError(f"{description}: holds a word of {whose}; {advice}")


def refuse_identifiers(folder: Path, identifiers: Identifiers, formats: Mapping[str, Format], texts: tuple[str, ...] = TEXTS) -> None:
    """Check that a package contains no identifier.

    Args:
        folder: folder of the package.
        identifiers: the names and paths.
        formats: file suffix -> format.
        texts: sources of the fixed texts, whose words are ignored.

    Raises:
        InputError: it contains one, or a file has an unknown format and cannot be searched; the message states file, name and remedy.
    """
    _refuse_originals_within(folder, identifiers, formats, texts)
    for path, secret in find_identifiers(folder, identifiers.secret, formats):
        name = path.relative_to(folder)
        raise InputError(f"{name}: holds {secret!r}, which belongs to a patient or this machine; take it out of params.yaml or names")
    allowed = {_plain(word) for word in identifiers.allowed}
    words = {word: title for word, title in identifiers.words.items() if _plain(word) not in allowed and not is_common(word, texts)}
    places: dict[str, set[str]] = {}
    for path, word in find_identifiers(folder, words, formats):
        places.setdefault(word, set()).add(path.relative_to(folder).as_posix())
    if places:
        matches = "; ".join(f"{word!r} ({words[word]}) in {', '.join(sorted(files))}" for word, files in sorted(places.items()))
        options = " ".join(f"--allow-word {_quoted(word)}" for word in sorted(places))
        raise InputError(f"the package holds {matches}; take it out of params.yaml, or where it is no more than a word, add {options}")


def find_identifiers(folder: Path, names: Iterable[str], formats: Mapping[str, Format]) -> Iterator[tuple[Path, str]]:
    """Yield (file, name) for every name that occurs in the path or the unpacked content of a file.

    Raises:
        InputError: the format of a file is unknown, or it cannot be unpacked.
    """
    # Text is searched for whole words by patterns, other content, such as pixels, for the bytes of the names.
    wanted = [(name, _pattern(name), _encoded(name)) for name in dict.fromkeys(names) if len(name.strip()) >= SHORTEST]
    for path in sorted(folder.rglob("*")):
        texts, arrays = [_plain(path.relative_to(folder).as_posix())], []
        for content in _contents(folder, path, formats) if path.is_file() else ():
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                arrays.append(content.lower())
                continue
            if "\0" in text:  # pixels that happen to be valid UTF-8
                arrays.append(content.lower())
            texts += [_plain(form) for form in dict.fromkeys((text, html.unescape(text), unquote(text)))]
        for name, pattern, forms in wanted:
            if any(pattern.search(text) for text in texts) or any(form in array for array in arrays for form in forms):
                yield path, name


def is_common(name: str, texts: tuple[str, ...] = TEXTS) -> bool:
    """Return whether a name is a single word in the fixed texts of every package, or of every export with `texts` EXPORTED."""
    return _plain(name) in _fixed_words(texts)


@cache
def _fixed_words(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word for file in _fixed_texts(texts) for word in WORD.findall(_plain(read_text(file))))


def _fixed_texts(texts: tuple[str, ...]) -> list[Path]:
    root = Path(angiosynth.__file__).parent
    return [file for name in texts for file in ([root / name] if Path(name).suffix else sorted((root / name).glob("*.py")))]


@cache
def _fixed_forms(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(form for file in _fixed_texts(texts) for form in words_in(read_text(file)))


def _plain(text: str) -> str:
    """Normalise case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _pattern(name: str) -> re.Pattern[str]:
    """Pattern that matches the name as a whole word."""
    return re.compile(rf"(?<![^\W_]){re.escape(_plain(name.strip()))}(?![^\W_])")


def _encoded(name: str) -> list[bytes]:
    """Byte strings of the name in content that is not text: lower case, UTF-8 or Latin-1, composed or decomposed."""
    encodings: set[bytes] = set()
    for form in {unicodedata.normalize(kind, written) for kind in ("NFC", "NFD") for written in (name.strip(), name.strip().upper())}:
        encodings |= {form.encode("utf-8", "surrogateescape").lower(), form.encode("latin-1", "ignore").lower()}
    return [form for form in sorted(encodings) if len(form) >= SHORTEST_IN_BYTES]


def _contents(folder: Path, path: Path, formats: Mapping[str, Format]) -> list[bytes]:
    """Unpacked content of a file."""
    unpack = _known_format(folder, path, formats).unpack
    try:
        return list(unpack(read_bytes(path, MOST_FILE)))
    except (OSError, ValueError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"{path.relative_to(folder)}: cannot be unpacked, so it cannot be searched for names; make it anew") from error


def _known_format(folder: Path, path: Path, formats: Mapping[str, Format]) -> Format:
    known = format_of(path.name, formats)
    if known is None:
        raise InputError(
            f"{path.relative_to(folder)}: no format is known for such a name, so the file cannot be searched for names; "
            "leave it out, or let its writer declare its format (docs/extending.md)"
        )
    return known


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w.-]+", word) else "'" + word.replace("'", "'\\''") + "'"
