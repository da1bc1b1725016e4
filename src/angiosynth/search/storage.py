"""Optuna storage whose heartbeat survives database outages and whose killed trials are queued again."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.exc import SQLAlchemyError

from angiosynth.errors import InputError
from angiosynth.runtime.progress import say
from angiosynth.search.workers import Pace
from angiosynth.tracking.databases import CONNECT_S, alone_at, driven, is_postgres, make_whole, studies_uri, unusable, wait_for
from angiosynth.tracking.runs import end_lost

ALIVE = "alive"  # attribute of trials after their first heartbeat
RETRIES = 2  # of a killed trial
DATABASE_ERRORS = (SQLAlchemyError, OptunaError)


class PatientStorage(RDBStorage):
    """Optuna storage whose heartbeat ignores database outages and marks each trial with `ALIVE`."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(*DATABASE_ERRORS):
            super().record_heartbeat(trial_id)
            self.set_trial_user_attr(trial_id, ALIVE, True)


@contextmanager
def opened_storage(root: Path, pace: Pace) -> Iterator[RDBStorage]:
    """Connect to the database of studies, which is created if it is missing.

    Raises:
        InputError: the database cannot be used, or the current study was deleted.
    """

    def retry(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        """End the run of a killed trial and queue its values again."""
        run_id = end_lost(f"{study.study_name} trial {trial.number}", study.user_attrs.get("parent_run", ""), root)
        if "run_id" not in trial.user_attrs:
            study.set_user_attr(f"run_of_{trial.number}", run_id)
        say(f"sweep {study.study_name} trial {trial.number}: killed; it is tried again up to {RETRIES} times")
        trial.user_attrs = {}  # run id and heartbeat belong to the killed trial, not to its repetition
        RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)

    optuna.logging.set_verbosity(optuna.logging.ERROR)  # failed trials are reported by one line without a traceback
    uri = studies_uri(root)
    engine: dict[str, Any] = {"connect_args": {"timeout": 60}}
    if is_postgres(uri):
        engine = {"connect_args": {"connect_timeout": CONNECT_S}, "pool_pre_ping": True}  # the server may be restarted meanwhile
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # heartbeats are experimental
        try:
            with alone_at(uri, root / "mlruns", "studies"):
                make_whole(uri, lambda new: RDBStorage(new).engine.dispose())
                wait_for(uri, "mlruns/optuna.db")
                beat, grace = pace.heartbeat_s, pace.grace_s
                storage = PatientStorage(
                    driven(uri), engine, heartbeat_interval=beat, grace_period=grace, heartbeat_stale_trial_callback=retry
                )
        except (*DATABASE_ERRORS, RuntimeError, ValueError, ImportError, OSError, sqlite3.Error) as error:
            raise unusable(uri, error) from error
        try:
            yield storage
        except DATABASE_ERRORS as error:
            raise unusable(uri, error) from error
        except KeyError as error:
            if "Record does not exist" not in str(error):
                raise
            raise InputError("the study was deleted while it was worked on; the sweep ends") from error
        finally:
            storage.remove_session()
            storage.engine.dispose()
