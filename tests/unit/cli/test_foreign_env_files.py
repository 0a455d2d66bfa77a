"""A `.env` that is not ours ends no command in a traceback, whatever it is."""

from __future__ import annotations

import socket
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from support.command_tree import SERVING, WITHOUT_SETTINGS, complete_lines
from support.in_process import CliRunner
from vaultstream_cli.main import COMMANDS
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.unit


EVERY = complete_lines()  # the others take nothing from the file


def latin_1(path: Path) -> None:
    path.write_bytes(b"APP_NAME=Caf\xe9\n")


def utf_16(path: Path) -> None:
    path.write_text("APP_NAME=x\n", "utf-16")


def endless(path: Path) -> None:
    path.symlink_to(path)


def somebodys_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path.name)


def open_to_all(path: Path) -> None:
    path.write_text("APP_NAME=x\n")
    path.chmod(0o666)


def test_all_commands_are_walked() -> None:
    assert {words[0] for words in EVERY} == COMMANDS.keys() - SERVING - WITHOUT_SETTINGS


@pytest.mark.parametrize("make", [latin_1, utf_16, endless, somebodys_socket, open_to_all])
def test_a_file_that_can_not_be_used_ends_each_command_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / ".env")
    for words in EVERY:
        ran = CliRunner().invoke(app, words)
        assert isinstance(ran.exception, SystemExit), (words, ran.exception)
        assert ran.exit_code == 2, (words, ran.output)
        assert "are not used: it " in ran.output, words
    assert [path.name for path in tmp_path.iterdir()] == [".env"]


def test_a_working_directory_that_was_removed_ends_each_command_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in EVERY:
        ran = CliRunner().invoke(app, words)
        assert ran.exit_code == 2, (words, ran.output, ran.exception)
        assert "working directory" in ran.output


def test_lines_of_another_kind_are_named_by_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("A=1\n{not: 'one'\n[also not]\n= nor this\n")
    ran = CliRunner().invoke(app, ["jobs"])
    assert ran.output.count("warning:") == 1
    assert "line 2 and 2 more" in " ".join(ran.output.split())
    assert "dotenv" not in ran.output + caplog.text


def test_a_file_of_passwords_that_others_may_read_is_named_without_a_place_in_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    passwords = tmp_path / "pass"
    passwords.write_text("*:*:*:*:word\n")
    passwords.chmod(0o644)
    monkeypatch.setattr("warnings.showwarning", None)  # set back afterwards
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        ran = CliRunner().invoke(
            app,
            ["jobs", "--database-url", f"postgresql://me@127.0.0.1:1/x?passfile={passwords}"],
        )
    assert ran.exit_code == 5, ran.output
    said = "".join(ran.output.split())
    assert f"thefileofpasswords{passwords}wasignoredbecauseothersmayaccessit:chmod600it" in said
    assert "asyncpg" not in ran.output
