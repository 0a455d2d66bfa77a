"""Text that others write into errors, up to a gigabyte of it, is shown in bounded length."""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path

import asyncpg
import nats.errors
import pytest

from vaultstream.errors import LONGEST_CHARACTERS, SHOWN_CHARACTERS, VaultStreamError
from vaultstream.exits import explained
from vaultstream.logs import MESSAGE_CHARACTERS, TRACEBACK_CHARACTERS, configure_logging
from vaultstream.settings import Settings
from vaultstream.store.database import explain

pytestmark = pytest.mark.unit

FLOOD = "x" * 1_000_000


@pytest.mark.parametrize(
    "kind",
    [
        asyncpg.PostgresError,
        asyncpg.RaiseError,
        asyncpg.InsufficientPrivilegeError,
        asyncpg.InvalidCatalogNameError,
        asyncpg.DiskFullError,
        asyncpg.DeadlockDetectedError,
        asyncpg.InterfaceError,
        nats.errors.Error,
    ],
)
def test_the_text_of_an_error_of_a_service_is_shown_in_bounded_length(kind: type[Exception]) -> None:
    error = explained(kind(FLOOD))
    assert error is not None
    assert len(error.message) <= SHOWN_CHARACTERS + 200
    assert len(error.hint or "") <= SHOWN_CHARACTERS + 200


def test_an_error_of_tls_is_shown_in_bounded_length() -> None:
    error = ssl.SSLError(1, FLOOD)
    error.reason = ""
    assert len(explain(error).message) <= SHOWN_CHARACTERS + 200


def test_no_error_of_ours_is_longer_than_a_person_reads() -> None:
    error = VaultStreamError(FLOOD, hint=FLOOD)
    assert len(error.message) == len(error.hint or "") == LONGEST_CHARACTERS + 1
    assert str(error) == error.message


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_line_of_the_log_has_a_bound_also_with_a_traceback(
    form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure_logging(Settings(log_format=form), worker=True)
    log = logging.getLogger("lengths")
    log.warning("failed: %s", FLOOD)
    assert len(capsys.readouterr().out) <= MESSAGE_CHARACTERS + 500
    log.error("failed", exc_info=asyncpg.RaiseError(FLOOD))
    out = capsys.readouterr().out
    assert len(out) <= TRACEBACK_CHARACTERS + 1000
    assert "RaiseError" in out


def test_an_error_without_text_is_named_by_its_type() -> None:
    """An exception is true, so `error or ...` is the exception, and its text may be empty."""
    root = Path(__file__).parents[2]
    modules = [path for part in ("workers", "operator", "cli") for path in (root / part).rglob("*.py")]
    assert len(modules) > 300
    assert not [path for path in modules if re.search(r"[{(\s]error or type\(", path.read_text("utf-8"))]


def test_a_pool_that_waits_for_postgres_prints_no_tracebacks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver has one for each attempt to open a connection; the run says what it waits for."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure_logging(Settings())
    away = asyncpg.CannotConnectNowError("the database system is shutting down")
    logging.getLogger("asyncpg.pool").warning("Failed to restore the pool", exc_info=away)
    assert capsys.readouterr().err == ""
