"""Format the results as lines of text, for `summary --show`."""

from __future__ import annotations

from typing import Any

from angiosynth.evaluation.patients import SCRATCH, THRESHOLD
from angiosynth.privacy.verdict import HOLDERS
from angiosynth.project.workspace import Workspace, data_digest
from angiosynth.report.style import Look
from angiosynth.report.verdicts import worth_verdicts
from angiosynth.runtime.output import read_json
from angiosynth.settings import Settings


def table(settings: Settings, home: Workspace) -> str:
    """Return the tables of all results, for a terminal."""
    evaluation: dict[str, Any] = read_json(home.metrics / "evaluation.json")
    transfer: dict[str, Any] = read_json(home.metrics / "transfer.json")
    several = evaluation["real"]["n_seeds"] > 1
    lines = [f"{'trained on':<14}{'DSC':>7}  {'95% interval':<15}{'95HD mm':>8}{'max mm':>8}{'of real':>9}{'val DSC':>9}"]
    lines[0] += f"{'seeds SD':>10}" if several else ""
    # Test scores of each training set and of the threshold, with the validation score.
    for data in (*settings.training_data, THRESHOLD):
        row = evaluation[data]
        ratio = evaluation["ratio_to_real"].get(data)
        interval = f"{row['dsc_low']:.3f}..{row['dsc_high']:.3f}"
        share = f"{ratio:.3f}" if ratio is not None else ""
        validation = f"{row['val_dsc']:.3f}" if "val_dsc" in row else ""
        lines.append(f"{data:<14}{row['dsc']:>7.3f}  {interval:<15}{row['hd95_mm']:>8.2f}{row['hd_mm']:>8.1f}{share:>9}{validation:>9}")
        lines[-1] += f"{row['dsc_seed_sd']:>10.3f}" if "dsc_seed_sd" in row else ""
    chosen = evaluation["chosen_by_validation"]
    lines += ["", f"chosen by validation patients: {chosen}; synthetic to real DSC on {evaluation['real']['n_patients']} test patients: "]
    lines[-1] += f"{evaluation['ratio_to_real'][chosen]:.3f}" if evaluation["ratio_to_real"][chosen] is not None else "undefined"
    lines += _worth_lines(read_json(home.metrics / "worth.json"), Look.of(evaluation))
    # One table for each target site: starts as rows, numbers of patients as columns.
    for site, starts in transfer.items():
        counts = sorted({int(count) for points in starts.values() for count in points})
        lines += ["", f"{f'to {site}, from':<20}" + "".join(f"{_patients(count):>26}" for count in counts)]
        for start, points in starts.items():
            cells = (_transfer_cell(start, points[str(count)]) if str(count) in points else "" for count in counts)
            lines.append(f"{start:<20}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join([*lines, *_audit_lines(settings, home)])


def _worth_lines(worth: dict[str, Any], look: Look) -> list[str]:
    """Return the DSC of real patches by number of patients, and the worth of each set; [] if stage worth has not run."""
    if not worth:
        return []
    curve = ", ".join(f"{point['dsc']:.3f} of {count}" for count, point in worth["curve"].items())
    return ["", f"real patches by number of patients: DSC {curve}", *worth_verdicts(worth, look)]


def _audit_lines(settings: Settings, home: Workspace) -> list[str]:
    """Return each audit's verdicts on attackers who hold the set, the generator and the critic; [] if no audit exists."""
    folders = {model: home.audit(model) for model in settings.generators if (home.audit(model) / "audit.json").is_file()}
    if not folders:
        return []
    lines = ["", f"{'audit of':<14}" + "".join(f"{holder:>18}" for holder in ("set", "with generator", "with critic"))]
    for model, folder in folders.items():
        audit = read_json(folder / "audit.json")
        verdicts = [audit["verdicts"][holder] for holder in HOLDERS]
        old = "" if audit["set_digest"] == data_digest(home.synthetic(model)) else "   of another set than the present one"
        lines.append(f"{model:<14}" + "".join(f"{verdict:>18}" for verdict in verdicts) + old)
    return [*lines, "explained in audit/MODEL/index.html"]


def _patients(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


def _transfer_cell(start: str, point: dict[str, float]) -> str:
    """Format the DSC and, for a pre-trained start, the interval of its gain."""
    gain = f" ({point['dsc_gain_low']:+.3f}..{point['dsc_gain_high']:+.3f})" if start != SCRATCH and "dsc_gain" in point else ""
    return f"{point['dsc']:.3f}{gain}"
