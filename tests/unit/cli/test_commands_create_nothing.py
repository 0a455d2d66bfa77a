"""A command that needs what a database has creates none: nothing in an empty place, and nothing where a file is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.command_tree import complete_lines
from support.in_process import CliRunner
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit

CREATING = {
    *(("quick-start",), ("run",), ("submit",), ("import",), ("bench",), ("migrate",)),
    ("debug", "psql"),  # where people make their own tables
    *(("keys", "init"), ("seal-key", "create"), ("seal-key", "create-secret"), ("kek", "create-secret")),
}
"""Commands whose purpose is to create something: a database, records, a job or a key."""
WITHOUT_A_PLACE = {("lint",), ("simulate",), ("log", "key"), ("seal-key", "rotate")}
"""Commands that look at no database."""
MORE = {
    ("keys", "retire"): ("--all",),
    ("keys", "revoke"): ("--all",),
    ("verify",): ("1",),
    ("accept-source",): ("1",),
}
"""What some commands need that no option of theirs requires."""
OTHERS = [
    (*line, *next((more for words, more in MORE.items() if line[: len(words)] == words), ()))
    for line in complete_lines()
    if not any(line[: len(words)] == words for words in CREATING | WITHOUT_A_PLACE)
]
ANYWAY = {
    ("jobs",): 0,  # there are none
    ("debug", "stop"): 0,  # nothing to stop
    ("doctor",): 0,
}
"""Exit codes of commands for which an empty place is no mistake; for all others it is bad input."""


@pytest.fixture(scope="module")
def seal_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "seal-key"
    create_seal_keys(path)
    return path


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seal_key: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "VAULTSTREAM_NATS_URL", "VAULTSTREAM_DATA_DIR", "VAULTSTREAM_KEK_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VAULTSTREAM_SEAL_KEY_FILE", str(seal_key))


def test_in_an_empty_place_nothing_is_created(tmp_path: Path) -> None:
    for line in OTHERS:
        ran = CliRunner().invoke(app, line)
        assert ran.exit_code == ANYWAY.get(line, 2), (line, ran.output)
        assert not list(tmp_path.iterdir()), line
        if line not in {("doctor",), ("log", "verify", "--since", "1")}:
            assert str(tmp_path / ".vaultstream") in ran.output.replace("\n", ""), line


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for line in OTHERS:
        ran = CliRunner().invoke(app, [*line, "--data-dir", "file/below"])
        assert ran.exit_code == 2, (line, ran.output)
        if line != ("log", "verify", "--since", "1"):
            assert "it is a file, or below one" in " ".join(ran.output.split()), line
        assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("line", [("log", "key"), ("log", "checkpoint"), ("log", "seal", "j")])
def test_an_empty_place_is_named_before_the_seal_key_that_is_not_there(
    line: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VAULTSTREAM_SEAL_KEY_FILE")
    ran = CliRunner().invoke(app, line)
    assert ran.exit_code == 2
    assert f"There is no VaultStream database in {tmp_path / '.vaultstream'}." in " ".join(ran.output.split())
