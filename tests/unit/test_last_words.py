"""The last line of a worker's log: written by the worker, read by its pool and by the operator."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from vaultstream.errors import CustodyError, ExitCode
from vaultstream.last_words import LastWords, read_last_words, write_last_words
from vaultstream.logs import configure_logging
from vaultstream.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.unit


@pytest.fixture
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_written_line_is_read_back(root_logger: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings.model_construct(log_format="json", log_level="error"), worker=True)
    write_last_words(CustodyError("There is no key at /etc/kek.", hint="Put it there."))
    lines = capsys.readouterr().out.splitlines()
    assert read_last_words(lines) == LastWords(6, "There is no key at /etc/kek.", "Put it there.")
    assert json.loads(lines[-1])["level"] == "ERROR"


def test_a_line_is_readable_in_a_log_and_controls_no_terminal(
    root_logger: None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(Settings.model_construct(log_format="json", log_level="error"), worker=True)
    write_last_words(CustodyError("⌈400 / 8⌉ keys of müller \u202eevil\x1b[31m \udc80"))
    line = capsys.readouterr().out
    assert "⌈400 / 8⌉ keys of müller" in line
    assert all(character.isprintable() for character in line.rstrip("\n"))
    assert read_last_words([line]) == LastWords(6, "⌈400 / 8⌉ keys of müller \u202eevil\x1b[31m \udc80")


def test_no_password_is_written_or_passed_on(root_logger: None, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings.model_construct(log_format="json"), worker=True)
    write_last_words(CustodyError("nats://u:hunter2@n", hint="postgresql://u:hunter2@db/d"))
    assert "hunter2" not in capsys.readouterr().out
    found = read_last_words(
        [json.dumps({"event": "exit", "message": "x://u:hunter2@n", "hint": "y://u:hunter2@n"})]
    )
    assert found == LastWords(1, "x://u:***@n", "y://u:***@n")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], None),
        (["Traceback (most recent call last):", "[1]", '"exit"', "{"], None),
        ([json.dumps({"message": "signing worker started", "pid": 2})], None),
        ([json.dumps({"event": "exit", "code": 5, "pid": 1, "message": "of the process before"})], None),
        (
            [
                json.dumps({"event": "exit", "code": 5, "pid": 2, "message": "why"}),
                json.dumps({"event": "exit", "code": 6, "pid": 1, "message": "of another"}),
                "something the interpreter prints",
            ],
            LastWords(5, "why"),
        ),
    ],
)
def test_only_the_lines_of_the_given_process_are_read(lines: list[str], words: LastWords | None) -> None:
    assert read_last_words(lines, pid=2) == words


@pytest.mark.parametrize(
    ("module", "environment", "code", "word"),
    [
        ("vaultstream", {}, ExitCode.USAGE, "DATABASE_URL"),
        ("vaultstream_cli", {}, ExitCode.USAGE, "DATABASE_URL"),
        ("vaultstream", {"VAULTSTREAM_LEASE_SECONDS": "no"}, ExitCode.USAGE, "VAULTSTREAM_LEASE_SECONDS"),
        (
            "vaultstream",
            {
                "DATABASE_URL": "postgresql://u:hunter2@127.0.0.1:1/d",
                "VAULTSTREAM_NATS_URL": "nats://127.0.0.1:1",
            },
            ExitCode.SERVICE,
            "Postgres",
        ),
    ],
)
def test_a_worker_that_can_not_start_ends_with_its_last_words(
    tmp_path: Path, module: str, environment: dict[str, str], code: ExitCode, word: str
) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VAULTSTREAM_", "DATABASE_URL"))}
    done = subprocess.run(
        [sys.executable, "-m", module, "worker", "signing", "job"],
        cwd=tmp_path,
        env=kept | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == code
    words = read_last_words(done.stdout.splitlines())
    assert words is not None
    assert words.code == code
    assert word in words.message
    assert words.hint
    assert "hunter2" not in done.stdout


def test_a_role_that_is_unknown_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vaultstream", "worker", "painting", "job"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.USAGE
    assert "keys|records|signing" in done.stderr
