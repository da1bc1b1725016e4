"""What belongs to a patient or this machine is found wherever it stands; an ordinary word is not taken for it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import unicodedata
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest

from angiosynth.errors import InputError
from angiosynth.release.identifiers import Identifiers, find_identifiers, is_common, refuse_identifiers
from angiosynth.release.package import FORMATS

NFC, NFD = (unicodedata.normalize(form, "Müller") for form in ("NFC", "NFD"))
LOGINS = ["root", "research", "user", "data", "patch", "patches", "vessels", "label", "jane.doe", NFC, NFD, "x", "1234567", "scans", "a b"]
HOSTS = ["pc-17", "gpu", "research", "audit.klinik-mueller.de", "load"]
FOLDERS = ["scans", "nifti", "raw", "Müller-Klinik", "Köpfe 2", "site-a", "images"]


@pytest.mark.parametrize("name", [*LOGINS, *HOSTS, *FOLDERS])
def test_a_package_leaves_whatever_user_machine_and_folders_are_called(name: str, package: Path) -> None:
    """Neighbours: words that the package's own texts have, parts of such words, odd names, names that nobody else has."""
    refuse_identifiers(package, Identifiers(words={name: "this user's name"}), FORMATS)


def test_common_are_the_words_of_the_fixed_texts_alone() -> None:
    assert all(is_common(word) for word in ("patch", "Vessels", "LABEL", "scans", "image", "x"))
    assert not any(is_common(word) for word in ("jane.doe", NFC, "mueller", "1234567", "sub-01", "a b", "klinik-patch"))


@pytest.mark.parametrize("form", ["as it is", "upper case", "NFC", "NFD", "escaped", "percent", "latin-1 in pixels"])
@pytest.mark.parametrize("name", [NFC, NFD, "jane.doe", "Praxis Dr. Köpf"])
def test_a_name_is_found_however_it_is_written(name: str, form: str, package: Path) -> None:
    from html import escape
    from urllib.parse import quote

    written = {
        "as it is": name,
        "upper case": name.upper(),
        "NFC": unicodedata.normalize("NFC", name),
        "NFD": unicodedata.normalize("NFD", name),
        "escaped": escape(name).encode("ascii", "xmlcharrefreplace").decode(),
        "percent": quote(name),
    }
    if form in written:
        (package / "audit" / "index.html").write_text(f"<p>({written[form]})</p>", encoding="utf-8")
    else:
        composed = unicodedata.normalize("NFC", name).encode("latin-1")
        np.savez(package / "patches.npz", image=np.frombuffer(b"\xff\0" + composed + b"\xfe", np.uint8))
    with pytest.raises(InputError) as caught:
        refuse_identifiers(package, Identifiers(words={name: "this user's name"}), FORMATS)
    assert "--allow-word" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind", ["README.md", "load.py", "card.json", "croissant.json", "audit/index.html", "SHA256SUMS", "name", "nifti", "npz"]
)
@pytest.mark.parametrize("secret", ["sub-Meier", "/mnt/Müller-Klinik/scans", "lab/raw/a"])
def test_a_patient_or_a_path_is_found_in_every_kind_of_file(kind: str, secret: str, package: Path) -> None:
    if kind == "name":
        (package / secret.strip("/").replace("/", "-")).mkdir()
        (package / "x" / secret.strip("/")).mkdir(parents=True)
        secret = secret.strip("/")
    elif kind == "nifti":
        image = nibabel.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
        raw = bytearray(image.to_bytes())
        raw[148 : 148 + len(secret.encode())] = secret.encode()  # the description
        (package / "nifti" / "image-00.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    elif kind == "npz":
        np.savez_compressed(package / "patches.npz", image=np.frombuffer(b"\0" + secret.upper().encode() + b"a", np.uint8))
    elif kind.endswith(".json"):
        (package / kind).write_text(json.dumps({"notes": [f"of {secret};"]}))
    else:
        with (package / kind).open("a", encoding="utf-8") as stream:
            stream.write(f"\n# {secret.upper()}\n")
    for identifiers in (Identifiers([secret]), Identifiers([secret], allowed=[secret])):
        with pytest.raises(InputError, match="belongs to a patient or this machine"):
            refuse_identifiers(package, identifiers, FORMATS)


@pytest.mark.parametrize(
    ("name", "text"), [("sub-01", "sub-011"), ("sub-1", "asub-1"), ("anna", "hannah"), ("li", "licence"), ("lab/a", "lab/ab")]
)
def test_a_part_of_a_longer_word_is_nobodys_name(name: str, text: str, package: Path) -> None:
    (package / "README.md").write_text(text)
    assert list(find_identifiers(package, [name], FORMATS)) == []
    (package / "README.md").write_text(f"{text} {name}_1")
    assert [found for _, found in find_identifiers(package, [name], FORMATS)] == [name]


def test_a_word_is_let_through_by_name_alone(package: Path) -> None:
    (package / "README.md").write_text("by the research group of Jane")
    identifiers = {"jane": "this user's name", "research": "part of the project's path"}
    with pytest.raises(InputError, match=r"'jane' \(this user's name\) in README\.md; 'research' .*--allow-word jane --allow-word"):
        refuse_identifiers(package, Identifiers(words=identifiers), FORMATS)
    with pytest.raises(InputError, match="'jane'") as caught:
        refuse_identifiers(package, Identifiers(words=identifiers, allowed=["Research"]), FORMATS)
    assert "'research'" not in str(caught.value)
    refuse_identifiers(package, Identifiers(words=identifiers, allowed=["research", "JANE"]), FORMATS)


@pytest.mark.parametrize("name", ["notes.tar.gz", "notes.txt.xz", "patches.h5", "notes", "nifti/image-00.nii"])
def test_a_file_of_an_unknown_format_refuses_the_package(name: str, package: Path) -> None:
    (package / name).write_bytes(b"nothing")
    with pytest.raises(InputError, match=rf"^{re.escape(name)}: no format is known for such a name"):
        refuse_identifiers(package, Identifiers(), FORMATS)


@pytest.mark.parametrize("name", ["patches.npz", "nifti/label-00.nii.gz", "card.json", "audit/index.html", "SHA256SUMS.sig"])
def test_a_file_that_cannot_be_unpacked_refuses_the_package(name: str, package: Path) -> None:
    (package / name).write_bytes(b'<img src="data:image/png;base64,A">{')
    with pytest.raises(InputError, match=rf"^{re.escape(name)}: cannot be unpacked, so it cannot be searched") as caught:
        refuse_identifiers(package, Identifiers(["sub-01"]), FORMATS)
    assert "\n" not in str(caught.value)


def test_an_archive_within_the_archive_of_arrays_refuses_the_package(package: Path) -> None:
    with zipfile.ZipFile(package / "patches.npz", "a") as archive:
        archive.writestr("more.zip", b"")
    with pytest.raises(InputError, match=r"^patches\.npz: cannot be unpacked"):
        refuse_identifiers(package, Identifiers(["sub-01"]), FORMATS)


def test_the_pictures_of_a_page_are_searched_and_their_base64_is_no_text(package: Path) -> None:
    picture = base64.b64encode(b"\x89PNG\0\0tEXtAuthor\0Jane Doe\xff").decode()
    (package / "audit" / "index.html").write_text(f'<img src="data:image/png;base64,{picture}"><img src="data:image/png;base64,anna">')
    assert [name for _, name in find_identifiers(package, ["jane doe", "anna"], FORMATS)] == ["jane doe"]
