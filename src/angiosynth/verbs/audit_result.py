"""Format a finished audit as lines of text, for `audit --show`."""

from __future__ import annotations

from angiosynth.errors import InputError
from angiosynth.privacy.verdict import HOLDERS
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.report.audit_summary import audit_summary
from angiosynth.report.audit_tables import state_of
from angiosynth.report.style import name_of
from angiosynth.runtime.output import read_json


def audit_lines(home: Workspace, model: str) -> list[str]:
    """Return the verdict, the patient at the highest risk and the next steps, as on the audit's page, and one line for each measure.

    Raises:
        InputError: no audit exists, or its file is damaged.
    """
    path = home.audit(model) / "audit.json"
    if not path.is_file():
        raise InputError(f"{path}: there is no audit yet; run `dvc repro audit@{model}`")
    audit = read_json(path)
    try:
        summary = audit_summary(audit)
        lines = [f"{name_of(model)}, verdict on the set: {summary.verdict}. {summary.sentence}", summary.worst, "What to do next:"]
        lines += [f"- {step}" for step in summary.steps]
        others = ", ".join(f"{holder}: {audit['verdicts'][holder]}" for holder in HOLDERS[1:])
        lines += ["", f"verdicts if more than the set is released: {others}", "", f"{'value':>8}{'control':>9}{'limit':>8}  measure"]
        for finding in audit["findings"]:
            figures = f"{finding['value']:>8.4f}{finding['control']:>9.4f}{finding['limit']:>8.3f}"
            lines.append(f"{figures}  {finding['description']}: {state_of(finding)}")
        old = audit["set_digest"] != data_digest(home.synthetic(model))
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: damaged or of another version; run `dvc repro audit@{model}` to make it anew") from error
    note = [f"This audit is of another set than the present one; run `dvc repro audit@{model}`."] if old else []
    return [*note, *lines, "", f"in full: {home.audit(model) / 'index.html'}"]
