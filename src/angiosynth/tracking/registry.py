"""Versions of registered models, and the choice of the version with the alias `champion`.

Scores of two versions are compared only if both were validated on the same scans. The MLflow client is an argument; mlflow is not imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from angiosynth.runtime.progress import say

CHAMPION, CHAMPIONS_BY = "champion", "val_dsc"
VALIDATED_ON = "validation_scans"  # tag of a run: digest of the scans behind its val_dsc
DRAWN = "drawn_scans"  # tag of a run: "yes" if these are scans of the phantom


@dataclass(frozen=True)
class Candidate:
    """A version whose run exists: number, validation DSC, digest of the validation scans ("" if unknown), whether these are phantoms."""

    version: str
    dsc: float
    scans: str
    drawn: bool

    def on_the_scans_of(self, other: Candidate) -> bool:
        return bool(self.scans) and self.scans == other.scans


def register(client: Any, name: str, model: Any, run_id: str, once: bool) -> None:
    """Register a logged model as a version of the registered model `name`, and update the alias.

    `once`: reuse the version of the same run from an earlier attempt.
    """
    try:
        client.create_registered_model(name)
    except Exception as error:
        if getattr(error, "error_code", "") != "RESOURCE_ALREADY_EXISTS":
            raise
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'") if once else []
    # By its location, because MLflow resolves "models:/" in the global store of the process.
    made = known[0] if known else client.create_model_version(name, model.artifact_location, run_id=run_id, model_id=model.model_id)
    crown(client, name, str(made.version), run_id)


def crown(client: Any, name: str, version: str, run_id: str) -> None:
    """Move the alias to a new version if it qualifies. Test scores are not considered.

    - Validated on the same scans as the champion: if its DSC is higher.
    - Validated on other scans: always, since the scores cannot be compared and the newest scans are the current ones of the laboratory.
      However, a version validated on phantoms never replaces one validated on real scans.
    - The champion or its run was deleted: the best version on the scans of the new one becomes champion.
    """
    new = _candidate(client, version, run_id)
    if new is None or new.dsc < 0:
        return
    champion = _champion(client, name)
    if champion is None:
        best = _best_on_the_scans_of(client, name, new)
    elif champion.on_the_scans_of(new):
        if new.dsc <= champion.dsc:
            return
        best = new
    elif new.drawn and not champion.drawn:
        say(f"{name}: the champion stays version {champion.version}; version {new.version} was validated on drawn heads")
        return
    else:
        say(f"{name}: version {new.version} is the champion now; version {champion.version} was validated on other scans")
        best = new
    client.set_registered_model_alias(name, CHAMPION, best.version)


def champion_run(client: Any, name: str) -> str | None:
    """Run id of the champion; if alias, version or run was deleted, that of the best version on the newest scans.

    None if no version is left.
    """
    champion = _champion(client, name)
    if champion is None:
        left = sorted(_candidates(client, name), key=lambda candidate: int(candidate.version))
        if not left:
            return None
        champion = _best_on_the_scans_of(client, name, left[-1])
        say(f"{name}: no champion, or it was deleted; version {champion.version} is taken, the best on the newest scans")
    return str(client.get_model_version(name, champion.version).run_id)


def _champion(client: Any, name: str) -> Candidate | None:
    """The version with the alias; None if the alias, the version or its run does not exist."""
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    if version is None:
        return None
    try:
        run_id = client.get_model_version(name, version).run_id
    except Exception as error:
        if _gone(error):
            return None
        raise
    return _candidate(client, str(version), run_id)


def _best_on_the_scans_of(client: Any, name: str, new: Candidate) -> Candidate:
    alike = [other for other in _candidates(client, name) if other.on_the_scans_of(new)]
    return max([*alike, new], key=lambda candidate: (candidate.dsc, -int(candidate.version)))


def _candidates(client: Any, name: str) -> list[Candidate]:
    """All versions whose runs exist."""
    every = [_candidate(client, str(version.version), version.run_id) for version in client.search_model_versions(f"name = '{name}'")]
    return [candidate for candidate in every if candidate is not None]


def _candidate(client: Any, version: str, run_id: str | None) -> Candidate | None:
    """The candidate of a version; None if its run was deleted, permanently or not. A run without a score has DSC -1."""
    if not run_id:
        return None
    try:
        run = client.get_run(run_id)
    except Exception as error:
        if _gone(error):
            return None
        raise
    if run.info.lifecycle_stage == "deleted":
        return None
    tags = run.data.tags
    return Candidate(version, run.data.metrics.get(CHAMPIONS_BY, -1.0), tags.get(VALIDATED_ON, ""), tags.get(DRAWN) == "yes")


def _gone(error: Exception) -> bool:
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND")
