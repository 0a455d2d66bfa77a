from __future__ import annotations

import pytest

from vaultstream.errors import UsageError
from vaultstream.local.psql import psql_command

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("postgresql://me:s%40crt@db:5432/x", "postgresql://me@db:5432/x"),
        ("postgresql://me@db/x?password=s%40crt&sslmode=require", "postgresql://me@db/x?sslmode=require"),
        ("postgres://:s%40crt@a:1,b:2/x", "postgres://@a:1,b:2/x"),
        ("postgresql:///x?password=s%40crt", "postgresql:///x"),
        (
            "postgresql:///x#y?password=s%40crt&application_name=a+b",
            "postgresql:///x#y?application_name=a%2Bb",
        ),
    ],
)
def test_the_password_is_passed_in_the_environment_and_not_on_the_command_line(url: str, public: str) -> None:
    arguments, environment = psql_command(url, ["-c", "SELECT 1"])

    assert arguments == ["--dbname", public, "-c", "SELECT 1"]
    assert environment["PGPASSWORD"] == "s@crt"


def test_a_socket_stays_in_the_url_and_no_password_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGPASSWORD", raising=False)

    arguments, environment = psql_command("postgresql://postgres@/x?host=/run/my%20db&port=5432", [])

    assert arguments == ["--dbname", "postgresql://postgres@/x?host=%2Frun%2Fmy%20db&port=5432"]
    assert "PGPASSWORD" not in environment


def test_the_password_of_a_key_is_never_put_on_the_command_line() -> None:
    with pytest.raises(UsageError, match="sslpassword") as raised:
        psql_command("postgresql://me@db/x?sslkey=k&sslpassword=hidden", [])
    assert "hidden" not in str(raised.value)
