"""Write an export atomically: files of the format, README, card, audit, checksums; then search it for identifiers."""

from __future__ import annotations

from pathlib import Path
from string import Template

from angiosynth.errors import InputError
from angiosynth.exports.base import Contents, Export
from angiosynth.reading import file_digest, read_bytes
from angiosynth.release.card import LABELLED_BY
from angiosynth.release.checksums import write_checksums
from angiosynth.release.identifiers import EXPORTED, Identifiers, refuse_identifiers
from angiosynth.release.package import FORMATS, MOST_PAGE
from angiosynth.release.signature import SUMS, sign
from angiosynth.runtime.output import whole_folder, write_json
from angiosynth.settings.audit import AUDIT_FILES
from angiosynth.settings.texts import escaped_markdown

README = Template("""$header# $name for $title

$n synthetic pairs of a brain-vessel patch (TOF-MRA, ${size}x$size) and its vessel label, drawn by a generator ($model). No pair was scanned
from anybody; the generator was trained on patches of $patients people. $labels

Released on $date by: $creator. Licence: $licence.

Voxel size: $spacing mm, slices across last, that of the scans that were trained on. It is the scanner's setting and says nothing of a
patient. Intensity: percentiles $low and $high inside the brain became the least and the greatest grey level (rule `$rule`).

## Use

$usage

card.json has the facts for machines, `sha256sum --check --strict SHA256SUMS` checks the files. The digest of the package's own SHA256SUMS,
which its sender may have signed, is in card.json, under `export`.

## Privacy

Verdict of the audit on the set: **$verdict** (see audit/index.html for its meaning).

${override}The audit names the attacks that were tried and their limits. It does not say that the set is anonymous. Trying to find out who
was trained on is against the terms of this release. Nothing clinical may be concluded from the pairs.
""")


def write_export(export: Export, contents: Contents, target: Path, identifiers: Identifiers, key: Path | None = None) -> None:
    """Write the pairs of a package in another format.

    Args:
        export: the format.
        contents: contents of the package.
        target: a new folder.
        identifiers: names and paths that the export must not contain.
        key: ed25519 private key for signing.

    Raises:
        InputError: the folder exists or cannot be written, or the export contains an identifier.
    """
    if target.exists() or target.is_symlink():
        raise InputError(f"{target}: is there already; name a new folder")
    with whole_folder(target) as folder:
        export.write(contents, folder)
        (folder / "audit").mkdir()
        for name in AUDIT_FILES:
            (folder / "audit" / name).write_bytes(read_bytes(contents.package / "audit" / name, MOST_PAGE))
        sums = file_digest(contents.package / SUMS).hexdigest()
        origin = {"format": export.name, "package_sha256sums": sums, "spacing_mm": list(contents.spacing_mm)}
        write_json(folder / "card.json", {**contents.facts, "export": origin})
        (folder / "README.md").write_text(readme_of(export, contents), encoding="utf-8")
        write_checksums(folder)
        if key is not None:
            sign(folder, key)
        refuse_identifiers(folder, identifiers, {**FORMATS, **export.formats}, EXPORTED)


def readme_of(export: Export, contents: Contents) -> str:
    """Return the text of README.md."""
    card = contents.card
    reason = f"**Released against the audit's verdict.** The reason given: {escaped_markdown(card.override)}\n\n" if card.override else ""
    return README.substitute(
        header=export.header(contents),
        name=escaped_markdown(card.name),
        title=export.title,
        n=card.n,
        size=card.size,
        model=escaped_markdown(card.model),
        labels=LABELLED_BY[card.labels],
        patients=card.patients_trained_on,
        date=card.date,
        creator=escaped_markdown(card.creator),
        licence=f"<{card.licence}>" if "://" in card.licence else escaped_markdown(card.licence),
        spacing=" x ".join(f"{length:g}" for length in contents.spacing_mm),
        usage=export.usage(contents).strip(),
        verdict=card.audit.verdicts.set,
        override=reason,
        **card.intensity.model_dump(mode="json"),
    )
