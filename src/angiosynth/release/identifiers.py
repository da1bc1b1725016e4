"""Names and paths that may stand nowhere in a package, and where a package holds one.

A name is looked for as a whole, not as a part of a longer word, whatever its case, its Unicode form, and how it is written in a file
(escaped, percent-encoded, compressed). Patients and paths are never let through. The login, the machine and the folders' names are
often ordinary words: the words of a package's own fixed texts are no sign of them, for others somebody who reads the place decides.
"""

from __future__ import annotations

import gzip
import html
import itertools
import json
import re
import unicodedata
import zipfile
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

MOST_FILE = 8 << 30  # bytes; what is looked through was made here a moment before
SHORTEST = 2  # of a name that is looked for
SHORTEST_IN_BYTES = 5  # among a million pixels shorter ones turn up by chance
# Where the fixed texts of a package come from: card, README and loader, the audit's page and its keys.
PAGE = ("audit.html", "base.html", "macros.html", "style.css")
TEXTS = (
    *("release", "settings", "privacy/shared.py", "privacy/verdict.py", "report/audit_page.py", "report/audit_tables.py"),
    *(f"report/templates/{name}" for name in PAGE),
)
WORD = re.compile(r"[^\W_]+")
TEXT_FILES = (".md", ".json", ".html", ".py", "")
NO_WORDS = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+|\b[0-9a-f]{16,}\b")  # a picture, a digest
ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})")  # in JSON and in the loader
HOST = re.compile(r"xn--[a-z0-9-]+", re.IGNORECASE | re.ASCII)
NO_ORIGINALS = Originals()


@dataclass(frozen=True)
class Identifiers:
    """What is looked for in a package.

    secret: patients' names, paths; never let through.
    words: name -> what it is, for names that may be ordinary words; let through where they are in `allowed`.
    originals: words of the names that patients had before they were imported; let through likewise.
    """

    secret: Sequence[str] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    allowed: Iterable[str] = ()
    originals: Originals = NO_ORIGINALS


def refuse_originals(texts: Mapping[str, str], identifiers: Identifiers) -> None:
    """Refuse texts, by what they are, that hold a word of a patient's name, of that before the import too, whatever the words' order.

    Raises:
        InputError: one does; the line tells which text and whose name, and not the name.
    """
    allowed = _allowed_forms(identifiers.allowed)
    for what, text in texts.items():
        _refuse(what, identifiers.originals.whose({form for read in _readings(text) for form in forms_in(read)} - allowed))


def _refuse_originals_within(folder: Path, identifiers: Identifiers) -> None:
    """The same for all files of a package and their names; the words of the fixed texts are nobody's."""
    allowed = _allowed_forms(identifiers.allowed) | _fixed_forms()
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    held = {path: words_in(path.relative_to(folder).as_posix()) for path in files}
    for path in files:
        if path.suffix in TEXT_FILES:
            text = NO_WORDS.sub(" ", read_text(path, MOST_FILE))
            held[path] |= {word for read in _readings(text) for word in words_in(read)}
    for path, words in held.items():
        _refuse(path.relative_to(folder).as_posix(), identifiers.originals.whose(words - allowed))


def _allowed_forms(allowed: Iterable[str]) -> set[str]:
    """Words that are let through, also joined."""
    words = list(allowed)
    return {form for pair in itertools.product(words, repeat=2) for form in forms_in(" ".join(pair))}


def _readings(text: str) -> set[str]:
    """A text as it is and as a program that shows it reads it: HTML's and addresses' signs, JSON's, the letters of a host's name."""
    read = html.unescape(unquote(ESCAPED.sub(lambda sign: chr(int(sign[1], 16)), text)))
    return {text, read, HOST.sub(_letters_of_host, read)}


def _letters_of_host(found: re.Match[str]) -> str:
    try:
        return found[0].encode("ascii").decode("idna")
    except UnicodeError:
        return found[0]


def _refuse(what: str, whose: str) -> None:
    if whose:
        advice = "take it out, or where it is no more than a word, name it with --allow-word"
        raise InputError(f"{what}: holds a word of {whose}; {advice}")


def refuse_identifiers(folder: Path, identifiers: Identifiers) -> None:
    """Refuse a package that holds one.

    Raises:
        InputError: it does; the text names the file, the name and what can be done.
    """
    _refuse_originals_within(folder, identifiers)
    if found := next(find_identifiers(folder, identifiers.secret), None):
        name = found[0].relative_to(folder)
        raise InputError(f"{name}: holds {found[1]!r}, which belongs to a patient or this machine; take it out of params.yaml or names")
    allowed = {_plain(word) for word in identifiers.allowed}
    asked = {word: what for word, what in identifiers.words.items() if _plain(word) not in allowed and not is_common(word)}
    places: dict[str, set[str]] = {}
    for path, word in find_identifiers(folder, asked):
        places.setdefault(word, set()).add(path.relative_to(folder).as_posix())
    if places:
        told = "; ".join(f"{word!r} ({asked[word]}) in {', '.join(sorted(files))}" for word, files in sorted(places.items()))
        options = " ".join(f"--allow-word {_quoted(word)}" for word in sorted(places))
        raise InputError(f"the package holds {told}; take it out of params.yaml, or where it is no more than a word, add {options}")


def find_identifiers(folder: Path, names: Iterable[str]) -> Iterator[tuple[Path, str]]:
    """(file, name) for every name that a folder's files hold: in their own names, or in content as it is or unpacked."""
    wanted = [(name, _pattern(name), _encoded(name)) for name in dict.fromkeys(names) if len(name.strip()) >= SHORTEST]
    for path in sorted(folder.rglob("*")):
        texts, arrays = [_plain(path.relative_to(folder).as_posix())], []
        for content in _contents(path) if path.is_file() else ():
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError:
                arrays.append(content.lower())
                continue
            if "\0" in text:  # pixels that happen to be text
                arrays.append(content.lower())
            texts += [_plain(form) for form in dict.fromkeys((text, html.unescape(text), unquote(text)))]
        for name, pattern, forms in wanted:
            if any(pattern.search(text) for text in texts) or any(form in array for array in arrays for form in forms):
                yield path, name


def is_common(name: str) -> bool:
    """Whether it is one word, and that a word of the package's fixed texts."""
    return _plain(name) in _fixed_words()


@cache
def _fixed_words() -> frozenset[str]:
    return frozenset(word for file in _fixed_texts() for word in WORD.findall(_plain(read_text(file))))


def _fixed_texts() -> list[Path]:
    root = Path(angiosynth.__file__).parent
    return [file for part in TEXTS for file in ([root / part] if Path(part).suffix else sorted((root / part).glob("*.py")))]


@cache
def _fixed_forms() -> frozenset[str]:
    return frozenset(form for file in _fixed_texts() for form in words_in(read_text(file)))


def _plain(text: str) -> str:
    """One form for all ways to write the same letters."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _pattern(name: str) -> re.Pattern[str]:
    """The name where no letter or digit goes on on either side."""
    return re.compile(rf"(?<![^\W_]){re.escape(_plain(name.strip()))}(?![^\W_])")


def _encoded(name: str) -> list[bytes]:
    """The name as bytes that are no text may hold it."""
    found: set[bytes] = set()
    for form in {unicodedata.normalize(kind, written) for kind in ("NFC", "NFD") for written in (name.strip(), name.strip().upper())}:
        found |= {form.encode("utf-8", "surrogateescape").lower(), form.encode("latin-1", "ignore").lower()}
    return [form for form in sorted(found) if len(form) >= SHORTEST_IN_BYTES]


def _contents(path: Path) -> list[bytes]:
    """A file's bytes, and what is packed in them."""
    raw = read_bytes(path, MOST_FILE)
    if path.suffix == ".gz":
        return [raw, gzip.decompress(raw)]
    if path.suffix == ".npz":
        with zipfile.ZipFile(path) as archive:
            return [raw, *(archive.read(name) for name in archive.namelist())]
    if path.suffix == ".json":
        return [raw, json.dumps(json.loads(raw), ensure_ascii=False).encode("utf-8", "backslashreplace")]
    return [raw]


def _quoted(word: str) -> str:
    return word if re.fullmatch(r"[\w.-]+", word) else "'" + word.replace("'", "'\\''") + "'"
