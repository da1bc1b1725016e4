"""Recognise the original names of patients: by tables of names or, if these are stored elsewhere, by digests of their words.

An import stores a digest of each word next to the site, so that a search does not need the table. Digests are slow to compute (scrypt, with
a salt of the site) and keyed with a secret of the project, names/words.key, which no package contains. With the digests alone nobody can
test a word. With digests and key one can test about fifty words per second, a list of common surnames in a day. This would reveal that some
patient has this name, but not which one.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from angiosynth.errors import InputError
from angiosynth.importing.name_words import name_words, names_somebody
from angiosynth.importing.pairing import COLUMNS
from angiosynth.importing.tables import read_table
from angiosynth.importing.target import is_imported
from angiosynth.reading import read_bytes
from angiosynth.runtime.output import read_json, whole_file, write_json
from angiosynth.runtime.progress import progress
from angiosynth.runtime.tables import plain_cell

NAMES = Path("names")  # of the project; ignored by git, DVC and the container
KEY = NAMES / "words.key"
KEY_BYTES, SALT_BYTES, DIGEST_BYTES = 32, 16, 16
MOST_KEY_FILE = 1 << 16  # bytes; a valid file has 65, longer ones are reported as damaged
COST: dict[str, int] = {"n": 2**13, "r": 8, "p": 1}  # about 20 ms and 8 MB per word
MOST_COST = 2**16  # upper limit of n in files: 64 MB per word
FORMAT = 1
HEX = re.compile(r"[0-9a-f]+")


@dataclass(frozen=True)
class Digests:
    """Digests of words, which can be tested but not listed."""

    path: Path
    key: bytes
    salt: bytes
    cost: Mapping[str, int]
    digests: frozenset[str]

    def holds(self, word: str) -> bool:
        return word_digest(word, self.key, self.salt, self.cost) in self.digests


@dataclass(frozen=True)
class Originals:
    """Words of patient names. `tables`: word -> description without the name. `digests`: of sites whose table is stored elsewhere."""

    tables: Mapping[str, str] = field(default_factory=dict)
    digests: tuple[Digests, ...] = ()

    def whose(self, words: Iterable[str]) -> str:
        """Describe the patient whose name contains one of the words, by the pseudonym if known, never by the name; "" if there is none."""
        candidates = sorted(filter(names_somebody, set(words)))
        match = next((self.tables[word] for word in candidates if word in self.tables), "")
        if match or not self.digests:
            return match
        for word in progress(candidates, "searching for names", len(candidates)):
            for kept in self.digests:
                if kept.holds(word):
                    return f"the name that a patient had before the import (digests in {kept.path})"
        return ""


def words_file(site: Path) -> Path:
    """Return the file of the digests of a site, next to the site's folder, since that folder is tracked by DVC and shared."""
    folder = site.resolve()
    return folder.parent / f".{folder.name}.words.json"


def keep_words(site: Path, names: Path) -> None:
    """Write the digests of all words in a table of names next to the site; only the owner can read the file.

    Raises:
        InputError: a file cannot be written, or the key is damaged.
    """
    words = sorted(_words_of(names))
    key, salt = _kept_key() or _new_key(), secrets.token_bytes(SALT_BYTES)
    digests = [word_digest(word, key, salt, COST) for word in progress(words, "digests of names", len(words))]
    made = {"format": FORMAT, "salt": salt.hex(), "cost": COST, "digests": sorted(digests)}
    with whole_file(words_file(site)) as temporary:
        temporary.chmod(0o600)
        write_json(temporary, made)
        temporary.chmod(0o600)


def find_originals(project: Path, sites: Iterable[Path]) -> Originals:
    """Read the words of all tables in names/ of the project, and the digests of imported sites without a table.

    Raises:
        InputError: an imported site has neither a table nor digests with a key.
    """
    tables: dict[str, str] = {}
    digests: list[Digests] = []
    with_table = set()
    for table in sorted((project / NAMES).glob("*.csv")):
        words = _words_of(table)
        with_table.add(table.stem)
        tables |= {word: f"the name that {patient} had before the import ({table})" for word, patient in words.items()}
    for site in dict.fromkeys(site for site in sites if site.is_dir() and is_imported(site)):
        kept, key = words_file(site), _key(project)
        if site.name in with_table:
            continue
        if not kept.is_file() or key is None:
            raise InputError(
                f"{site}: the names of its patients are unknown, so they cannot be searched for; "
                f"bring {project / NAMES / site.name}.csv, or {kept} and {project / KEY} from where they were imported"
            )
        digests.append(_read_digests(kept, key))
    return Originals(tables, tuple(digests))


@cache
def _scrypt(word: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    return hashlib.scrypt(word.encode("utf-8", "surrogateescape"), salt=salt, n=n, r=r, p=p, maxmem=2**28, dklen=32)


def word_digest(word: str, key: bytes, salt: bytes, cost: Mapping[str, int]) -> str:
    """Hexadecimal digest of a word; computing it needs both the key and the salt."""
    slow = _scrypt(word, salt, cost["n"], cost["r"], cost["p"])
    return hmac.new(key, slow, hashlib.sha256).digest()[:DIGEST_BYTES].hex()


def _words_of(names: Path) -> dict[str, str]:
    """Words of a table written by an import, each with its patient."""
    _, rows = read_table(names, ("patient", "scan"))
    words: dict[str, str] = {}
    for _, row in rows:
        cells = [plain_cell(row.get(column, "")) for column in COLUMNS]
        words |= dict.fromkeys(name_words(cells), row.get("patient", "").strip())
    return words


def _key(project: Path) -> bytes | None:
    path = project / KEY
    if not path.is_file():
        return None
    text = read_bytes(path, MOST_KEY_FILE).decode("ascii", "replace").strip()
    if len(text) != 2 * KEY_BYTES or not HEX.fullmatch(text):
        raise InputError(f"{path}: damaged; bring it from where the scans were imported, or move it away and import them again")
    return bytes.fromhex(text)


def _kept_key() -> bytes | None:
    """The existing key of the project, or None. Its file is restricted to the owner."""
    key = _key(Path())
    if key is not None:
        KEY.chmod(0o600)
    return key


def _new_key() -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    with whole_file(KEY) as temporary:
        temporary.write_text(f"{key.hex()}\n", encoding="ascii")
    return key


def _read_digests(path: Path, key: bytes) -> Digests:
    made: Any = read_json(path)
    try:
        cost = {name: int(made["cost"][name]) for name in COST}
        digests = frozenset(str(item) for item in made["digests"])
        if made["format"] != FORMAT or not 2 <= cost["n"] <= MOST_COST or cost["r"] != COST["r"] or cost["p"] != COST["p"]:
            raise ValueError("another format")
        return Digests(path, key, bytes.fromhex(made["salt"]), cost, digests)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged; import the scans again, or bring their table of names into {NAMES}/") from error
