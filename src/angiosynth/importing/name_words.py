"""Normalise the words of people's names: case, accents, word boundaries.

Words from the file names of a lab that may name a patient are searched for in everything that is released. File names also contain common
words, which are not searched for; a person with such a name is not searched for either.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterable

SHORTEST = 2  # letters of a searched word
SHORTEST_NUMBER = 5  # digits; shorter numbers are years or positions in a list, longer ones may be hospital numbers or dates of birth
WORD = re.compile(r"[^\W_]+")
PIECE = re.compile(r"\d+|[^\W\d_]+")
CODE = re.compile(r"[a-z]\d|\d+[a-z]{1,2}")  # t1, 3d, 7t, 05mm
OTHER_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "\u0131": "i", "ħ": "h"})
SPELT_OUT = re.compile("([aou])e")  # umlauts written without dots
# Words of imaging, files and sentences, which are not searched for even if they are someone's name.
IMAGING = (
    "acq anat angio angiography arteries artery axial bids brain brains copy ct cta data dcm desc dicom dwi echo export final flair "
    "gz head heads image images img iso label labels left lesion mask masks mm mr mra mri new nifti nii no nr old orig original part "
    "pat patient patients raw reg registered resampled right run scan scans seg segm segmentation ses session site skull slice space "
    "sub subj subject subjects swi test tof train training validation vessel vessels vol volume "
)
SENTENCES = (
    "al am an and as at auf be bin by da das de del dem den der des di die do dr du ein el en er es et for frau from go he herr if im "
    "in is it la las le les los me mit mrs ms my new not of on or prof so the to um und us van vom von we with zu zum zur "
)
NOBODYS = frozenset(f"{IMAGING}{SENTENCES}".split())


def name_words(names: Iterable[str]) -> set[str]:
    """Return the forms to search for, from the file names of one patient: words, words within a word (AnnaMeier), joined neighbours."""
    return {form for name in names for form in forms_in(name) if names_somebody(form)}


def forms_in(text: str) -> set[str]:
    """Return all forms of the words of a text that may be a name: words, pieces of words, and two neighbours joined in both orders."""
    raw = WORD.findall(unicodedata.normalize("NFC", text))
    pieces = [piece for word in raw for piece in _pieces(word)]
    letters = [piece for piece in pieces if not piece.isdigit() and plain_word(piece) not in NOBODYS]
    joined = [pair for first, second in itertools.pairwise(letters) for pair in (first + second, second + first)]
    return {plain_word(word) for word in (*raw, *pieces, *joined)}


def words_in(text: str) -> set[str]:
    """Return the forms of the words of a long text and of their pieces, without joined neighbours."""
    raw = set(WORD.findall(unicodedata.normalize("NFC", text)))
    return {plain_word(piece) for word in raw for piece in (word, *_pieces(word))}


def plain_word(word: str) -> str:
    """Return the common form of MÜLLER, Müller, Mueller and Muller."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", word.casefold()) if not unicodedata.combining(sign))
    return SPELT_OUT.sub(r"\1", bare.casefold().translate(OTHER_LETTERS))


def names_somebody(form: str) -> bool:
    """Return whether a word may be a person's name or number, as opposed to words of imaging or sentences, years and counts."""
    if form.isdigit():
        return len(form) >= SHORTEST_NUMBER
    return len(form) >= SHORTEST and form not in NOBODYS and not CODE.fullmatch(form)


def _pieces(word: str) -> list[str]:
    """Split a word at changes between letters, digits and case: AnnaMEIER01 -> Anna, MEIER, 01; MRTAnna -> MRT, Anna."""
    pieces: list[str] = []
    for run in PIECE.findall(word):
        start = 0
        for place in range(1, len(run)):
            rises = run[place].isupper() and not run[place - 1].isupper()
            falls = run[place].isupper() and run[place - 1].isupper() and run[place + 1 : place + 2].islower()
            if rises or falls:
                pieces.append(run[start:place])
                start = place
        pieces.append(run[start:])
    return pieces
