"""Every place that makes a message or a record of what a store says: none of them lets a password through."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from angiosynth import cli
from angiosynth.errors import InputError
from angiosynth.runtime.progress import say
from angiosynth.search.sweep import _reason
from angiosynth.tracking import opening
from angiosynth.tracking.databases import in_short, unusable
from angiosynth.tracking.journal import JOURNAL
from angiosynth.tracking.lineage import flat, portable
from angiosynth.tracking.outbox import Outbox
from angiosynth.tracking.run import Run, StoreError, one_line
from angiosynth.tracking.store import or_store_error

Place = Callable[[str, Path, Callable[[], str]], str]


class Refusing:
    """A store that refuses everything with a text, or keeps what it is given."""

    def __init__(self, text: str | None) -> None:
        self.text, self.kept = text, list[Any]()

    def __getattr__(self, name: str) -> Any:
        def call(*parts: Any) -> None:
            self.kept.append(parts)
            if self.text is not None:
                raise StoreError(self.text) if name == "set_tag" else RuntimeError(self.text)

        return call


def _line(text: str, root: Path, said: Callable[[], str]) -> str:
    say(text)
    return said()


def _opened(text: str, root: Path, _: Callable[[], str]) -> str:
    with pytest.raises(InputError) as caught, opening.or_input_error(root), or_store_error():
        raise OSError(text)
    return str(caught.value)


def _run_that_fails(text: str, root: Path, said: Callable[[], str]) -> str:
    store: Any = Refusing(text)
    run = Run(store, "id", root)
    run.artifact(Path(__file__))
    run.tag("a", "b")
    return said()


def _run_that_keeps(text: str, root: Path, _: Callable[[], str]) -> str:
    store: Any = Refusing(None)
    run = Run(store, "id", root)
    run.tag("failure", text)
    run.describe({"cohort": {"site": text, "both": [text]}}, None)
    return json.dumps(store.kept, ensure_ascii=False, default=str)


def _command(text: str, root: Path, said: Callable[[], str]) -> str:
    def failing() -> None:
        raise InputError(text)

    def failing_otherwise() -> None:
        raise OSError(5, text, text)

    for run in (failing, failing_otherwise):
        with pytest.raises(SystemExit):
            cli.app(run)
    return said()


def _outbox(text: str, root: Path, said: Callable[[], str]) -> str:
    def away() -> Any:
        raise StoreError(text)

    box = Outbox(root, away)
    run = Run(box, box.id, root)
    run.tag("note", text)
    box.finish()
    kept = [path.read_text(encoding="utf-8") for path in (root / "mlruns").rglob(JOURNAL)]
    return said() + "".join(json.dumps(json.loads(line), ensure_ascii=False) for line in kept[-1].splitlines())


PLACES: dict[str, Place] = {
    "a line on standard error": _line,
    "a command's fault": _command,
    "a store that does not open": _opened,
    "a request in short": lambda text, root, said: in_short(text),
    "studies that cannot be used": lambda text, root, said: str(unusable("sqlite:///x", ValueError(text))),
    "an exception in one line": lambda text, root, said: one_line(RuntimeError(text)),
    "a run that is not recorded": _run_that_fails,
    "what a run keeps": _run_that_keeps,
    "what an outbox keeps and says": _outbox,
    "a trial's reason": lambda text, root, said: _reason(RuntimeError(text), root),
    "a setting": lambda text, root, said: f"{portable(text, root)}{dict(flat({'a': text, 'b': [text]}, root))}",
}


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    return lambda: "".join(capsys.readouterr())


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(middle=st.text("@:/% '\"#?&=+ä漢,;\\-_.!", max_size=6), encoded=st.booleans())
def test_no_place_lets_a_password_through(
    place: Place, middle: str, encoded: bool, tmp_path: Path, said: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any signs between its two halves; as a URI of the environment, whole and as the driver may have read it, and as a token."""
    from urllib.parse import quote

    password = f"Xq7first{middle}Xq7last"
    written = quote(password, safe="") if encoded else password
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://lab:{written}@127.0.0.1:1")
        patch.setenv("MLFLOW_TRACKING_TOKEN", "Xq7token")
        text = f"cannot reach http://lab:{written}@127.0.0.1:1 nor {password!r} by Bearer Xq7token"
        shown = place(text, tmp_path, said)
    assert "Xq7" not in shown
    assert "***" in shown
