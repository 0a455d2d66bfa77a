"""Files of passwords and of services are read as libpq reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vaultstream.errors import UsageError
from vaultstream.store.conninfo import connection_arguments
from vaultstream.store.libpq_files import KnownPassword, password_from_file, values_of_service

pytestmark = pytest.mark.unit


def known(file: Path, *, mode: int = 0o600, host: str = "db", database: str = "x") -> KnownPassword:
    file.chmod(mode)
    return password_from_file({}, str(file), [("first", "1"), (host, "5432")], database, "me")


@pytest.mark.parametrize(
    ("line", "password"),
    [
        (r"db:5432:x:me:a/b#c?d%e@f\:g&h=i j+k", "a/b#c?d%e@f:g&h=i j+k"),
        ("db:5432:x:me:with:colons:in it", "with:colons:in it"),
        (r"db:5432:x:me:back\\slash", r"back\slash"),
        ("*:*:*:me: kept ", " kept "),
        ("db:5432:x:me:crlf\r\n", "crlf"),
        ("\ufeffdb:5432:x:me:after a mark", "after a mark"),
        ("# note\n\nother:5432:x:me:no\ndb:*:x:me:second", "second"),
        ("db:5432:x", None),
        ("db:5432:x:you:no", None),
        ("localhost:5432:x:me:no", None),
    ],
)
def test_a_password_is_found_with_all_its_characters(tmp_path: Path, line: str, password: str | None) -> None:
    file = tmp_path / "pass"
    file.write_bytes(line.encode())
    assert known(file) == KnownPassword(password)


def test_a_socket_is_found_by_its_directory(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_text("/srv/pg:5432:x:me:own\nlocalhost:5432:x:me:usual\n")
    assert known(file, host="/srv/pg").value == "own"
    assert known(file, host="/var/run/postgresql").value == "usual"
    assert known(file, host="/elsewhere").value is None


def test_a_comment_that_is_not_utf8_harms_nothing_and_such_a_password_is_named(tmp_path: Path) -> None:
    file = tmp_path / "pass"
    file.write_bytes(b"# \xfc\ndb:5432:x:me:w\xf6rd\n*:*:y:me:word\n")
    assert known(file, database="y").value == "word"
    with pytest.raises(UsageError, match="password") as raised:
        connection_arguments("postgresql://me@db/x", {"PGPASSFILE": str(file)})
    assert "rd" not in raised.value.message.replace("password", "")


def test_a_file_that_others_may_read_is_ignored_and_the_note_says_so(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    file = tmp_path / "pass"
    file.write_text("*:*:*:*:word\n")
    found = known(file, mode=0o640)
    assert found.value is None
    assert "chmod 600" in found.note
    assert str(file) in found.note
    assert "plain" in password_from_file({}, str(tmp_path), [], "x", "me").note
    assert "can't be read" in password_from_file({}, str(tmp_path / "none"), [], "x", "me").note
    assert password_from_file({"HOME": str(tmp_path)}, None, [], "x", "me") == KnownPassword(None)
    connection_arguments("postgresql://me@db/x", {"PGPASSFILE": str(file)})
    assert not recwarn.list


def test_a_service_is_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "services"
    file.write_bytes(
        b"# \xfc\n[DEFAULT]\nuser=nobody\n[a]\r\n  host = db  \r\n  port=5433\n\npassword=p%w=;#x\nhost=later\n[a]\nhost=again\n"
    )
    assert values_of_service(file, "a", "PGSERVICE") == {
        "host": "db",
        "port": "5433",
        "password": "p%w=;#x",
    }
    assert values_of_service(file, "b", "PGSERVICE") is None
    assert values_of_service(tmp_path / "none", "a", "PGSERVICE") is None
    assert values_of_service(tmp_path, "a", "PGSERVICE") is None


@pytest.mark.parametrize(("line", "what"), [("nonsense", "line 2"), ("service=b", "another service")])
def test_a_line_that_is_no_parameter_is_named(tmp_path: Path, line: str, what: str) -> None:
    file = tmp_path / "services"
    file.write_text(f"[a]\n{line}\n[b]\nhost=db\n")
    with pytest.raises(UsageError, match=what) as raised:
        connection_arguments("postgresql://?service=a", {"PGSERVICEFILE": str(file)})
    assert str(file) in raised.value.message
    assert connection_arguments("postgresql://?service=b", {"PGSERVICEFILE": str(file)}).servers == (
        "db:5432",
    )
