"""No password or token is shown, whoever says it and however it is written."""

from __future__ import annotations

import base64
import logging
import string
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from angiosynth.runtime.secrets import hide_secrets_in_tracebacks_and_logs, without_secrets

ROOT = Path(__file__).resolve().parents[2]
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
CASES = [  # text, and how it is shown
    ("postgresql://lab:pass:word@db/optuna refused", "postgresql://lab:***@db/optuna refused"),
    ("http://lab:word@lab.example.org/api", "http://lab:***@lab.example.org/api"),
    ("postgresql+psycopg://lab:wo@rd@db/optuna", "postgresql+psycopg://lab:***@db/optuna"),
    ("postgresql://lab:wo/rd#1?2@db/optuna", "postgresql://lab:***@db/optuna"),
    ("postgresql://lab:%40%3A%2F%25@db/optuna", "postgresql://lab:***@db/optuna"),
    ("redis://:word@cache:6379/0", "redis://:***@cache:6379/0"),
    ("cannot reach 'mysql://lab:word@db/x', retrying", "cannot reach 'mysql://lab:***@db/x', retrying"),
    ("https://ghost-token@github.com/lab/x", "https://***@github.com/lab/x"),
    ("postgresql://db/optuna?user=lab&password=word&x=1", "postgresql://db/optuna?user=lab&password=***&x=1"),
    ("host=db password=word dbname=optuna", "host=db password=*** dbname=optuna"),
    (r"host=db password='a \' b' dbname=optuna", "host=db password=*** dbname=optuna"),
    ('password="a b" host=db', "password=*** host=db"),
    ("{'user': 'lab', 'password': 'a, b'}", "{'user': 'lab', 'password': ***}"),
    ('{"token": "abc", "x": 1}', '{"token": ***, "x": 1}'),
    ("sslpassword=word PGPASSWORD=word2", "sslpassword=*** PGPASSWORD=***"),
    ("/x?access_token=a1&sig=b%2B2&pwd=c;passwd=d&api_key=e", "/x?access_token=***&sig=***&pwd=***;passwd=***&api_key=***"),
    ("/x?X-Amz-Credential=AK/1&X-Amz-Signature=ab12&X-Amz-Date=1", "/x?X-Amz-Credential=***&X-Amz-Signature=***&X-Amz-Date=1"),
    ("aws_secret_access_key = wJalr/XUt", "aws_secret_access_key = ***"),
    ("AccountKey=ab+c==;EndpointSuffix=x", "AccountKey=***;EndpointSuffix=x"),
    ("Authorization: Basic bGFiOndvcmQ=", "Authorization: Basic ***"),
    ("{'Authorization': 'Bearer abc.def'}", "{'Authorization': 'Bearer ***'}"),
    ("sent Bearer abc-def_1", "sent Bearer ***"),
    (f"got {JWT}", "got ***"),
    ("key AKIAABCDEFGHIJKLMNOP of dapi0123456789abcdef0123456789abcdef", "key *** of ***"),
    ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----", "***"),
]
HARMLESS = [
    "http://127.0.0.1:5000/api, user@host",
    "postgresql://lab@db:5432/optuna",
    "http://lab.example.org:5000/#/experiments/1?a=b@c",
    "models:/unet-real@champion: the tracking store has none such",
    "sqlite:////home/a:b@c/mlruns/mlflow.db",
    "s3://bucket/key:1@2",
    "release/signature: not the key's; sign it anew",
    "train-generator wgan-gp: goes on at step 2",
    "3 of 4 pass: fine",
    "tokens=words that are none",
]


@pytest.mark.parametrize(("text", "shown"), CASES)
def test_what_looks_like_a_secret_is_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown, "once more changes nothing"


@pytest.mark.parametrize("text", ["https:/u:p@ss/word@host/x: no such model", "smb:/lab:p@ss/word@host/x: no such folder"])
def test_a_uri_that_was_taken_for_a_path_hides_its_password(text: str) -> None:
    scheme, user = text.split(":")[:2]
    assert without_secrets(text).startswith(f"{scheme}:{user}:***@host/x: no such")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_none_is_left_alone(text: str) -> None:
    assert without_secrets(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "DATABRICKS_TOKEN",
        "PGPASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "OPENAI_API_KEY",
    ],
)
def test_a_secret_of_the_environment_is_hidden_wherever_it_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "Zw3i/Wort+eins"
    monkeypatch.setenv(name, secret)
    for spelling in (secret, quote(secret, safe=""), quote_plus(secret), repr(secret)):
        assert "Wort" not in without_secrets(f"the server said <{spelling}> at x.py")


def test_what_is_called_almost_so_is_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKENIZERS_PARALLELISM", "SSH_AUTH_SOCK", "PGPASSFILE", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.setenv(name, "falsehood")
    monkeypatch.setenv("PGPASSWORD", "ab")
    assert without_secrets("falsehood about a lab") == "falsehood about a lab"


PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=4, max_size=20).filter(
    lambda text: text.strip() == text and text not in "the server of host does not answer *** ://:@'"
)
NAMES = st.sampled_from(["MLFLOW_TRACKING_URI", "ANGIOSYNTH_STUDIES", "MLFLOW_BACKEND_STORE_URI", "HTTPS_PROXY"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=PASSWORDS, user=st.sampled_from(["lab", ""]), name=NAMES, encoded=st.booleans())
@example(password="p@ss:w/rd", user="lab", name="MLFLOW_TRACKING_URI", encoded=False)
@example(password="100%", user="lab", name="MLFLOW_TRACKING_URI", encoded=True)
@example(password="a b'c\"d\\", user="", name="ANGIOSYNTH_STUDIES", encoded=False)
def test_the_password_of_a_uri_of_the_environment_is_nowhere(
    password: str, user: str, name: str, encoded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is made of: as written and percent-encoded, alone, in the URI, in keyword form, in repr, in HTTP's Basic login."""
    written = quote(password, safe="") if encoded else password
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    with monkeypatch.context() as patch:
        patch.setenv(name, f"postgresql://{user}:{written}@db.example.org/runs")
        for form in (written, password, quote(password, safe=""), quote_plus(password), repr(password)[1:-1], login):
            for text in (f"postgresql://{user}:{form}@db.example.org/runs", f"the server <{form}> does not answer"):
                shown = without_secrets(text)
                assert form not in shown.replace("***", "\0")
                assert "does not answer" in shown or "db.example.org/runs" in shown


@settings(max_examples=100, deadline=None)
@given(
    password=st.text(string.ascii_letters + string.digits + "._-~!$()*+", min_size=1, max_size=20),
    user=st.sampled_from(["lab", "l.a-b", ""]),
)
def test_the_password_of_any_uri_in_a_message_is_hidden(password: str, user: str) -> None:
    """Also a short one that no variable holds."""
    for scheme in ("postgresql", "mysql+pymysql", "https", "redis", "amqp"):
        uri = f"{scheme}://{user}:{password}@db/x"
        assert without_secrets(f"({uri}) refused") == f"({scheme}://{user}:***@db/x) refused"


UNCAUGHT = """
import logging, threading
from angiosynth import cli
def fail(): raise RuntimeError("postgresql://lab:hidden-word@db refused")
def run():
    logging.getLogger("other").warning("to %s", "postgresql://lab:hidden-word@db")
    try: fail()
    except RuntimeError: logging.getLogger("other").exception("again")
    one = threading.Thread(target=fail); one.start(); one.join()
    fail()
cli.app(run)
"""


def test_python_itself_and_other_packages_show_none() -> None:
    """An exception that nobody caught, in a thread too, and log lines with and without their traceback."""
    done = subprocess.run([sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT / "src")})
    assert done.returncode == 1
    assert "hidden-word" not in done.stdout + done.stderr
    assert done.stderr.count("postgresql://lab:***@db") == 4


def test_log_records_are_wrapped_once() -> None:
    before = logging.getLogRecordFactory()
    try:
        hide_secrets_in_tracebacks_and_logs()
        first = logging.getLogRecordFactory()
        hide_secrets_in_tracebacks_and_logs()
        assert logging.getLogRecordFactory() is first
    finally:
        logging.setLogRecordFactory(before)
        sys.excepthook = sys.__excepthook__
