"""Every parameter and variable of libpq is taken, or refused by its name; none reaches the embedded Postgres."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from vaultstream.errors import ExitCode, UsageError
from vaultstream.local.postgres import database_url
from vaultstream.local.psql import psql_command
from vaultstream.store.conninfo import ConnectionArguments, connection_arguments

pytestmark = pytest.mark.unit

URL = "postgresql://me@db:5432/x"
ALL = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "require_auth",
    "channel_binding",
    "connect_timeout",
    "client_encoding",
    "options",
    "application_name",
    "fallback_application_name",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "replication",
    "gssencmode",
    "sslmode",
    "requiressl",
    "sslnegotiation",
    "sslcompression",
    "sslcert",
    "sslkey",
    "sslkeylogfile",
    "sslpassword",
    "sslcertmode",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslsni",
    "requirepeer",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "min_protocol_version",
    "max_protocol_version",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "target_session_attrs",
    "load_balance_hosts",
    "oauth_issuer",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_scope",
]
"""The keywords of libpq in Postgres 18."""
VARIABLES = [
    "PGHOST",
    "PGHOSTADDR",
    "PGPORT",
    "PGDATABASE",
    "PGUSER",
    "PGPASSWORD",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGCHANNELBINDING",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGOPTIONS",
    "PGAPPNAME",
    "PGSSLMODE",
    "PGREQUIRESSL",
    "PGSSLNEGOTIATION",
    "PGSSLCOMPRESSION",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCERTMODE",
    "PGSSLROOTCERT",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLSNI",
    "PGREQUIREPEER",
    "PGSSLMINPROTOCOLVERSION",
    "PGSSLMAXPROTOCOLVERSION",
    "PGGSSENCMODE",
    "PGKRBSRVNAME",
    "PGGSSLIB",
    "PGGSSDELEGATION",
    "PGCONNECT_TIMEOUT",
    "PGCLIENTENCODING",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
    "PGMINPROTOCOLVERSION",
    "PGMAXPROTOCOLVERSION",
]


def asked(arguments: ConnectionArguments) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(urlsplit(arguments.dsn).query).items()}


def outcome(url: str) -> ConnectionArguments | UsageError:
    try:
        return connection_arguments(url, {})
    except UsageError as error:
        return error


@pytest.mark.parametrize("name", ALL)
def test_a_parameter_is_taken_or_refused_by_its_name(name: str) -> None:
    for value in ("1", "disable", "require", "scram-sha-256"):
        taken = outcome(f"postgresql://db/x?{name}={value}")
        if isinstance(taken, UsageError):
            assert taken.exit_code == ExitCode.USAGE
            assert name in taken.message
            assert "DATABASE_URL" in taken.message
            continue
        # What the driver does not know would go to Postgres, which refuses the connection.
        known = {
            "host",
            "port",
            "dbname",
            "user",
            "password",
            "passfile",
            "options",
            "krbsrvname",
            "sslpassword",
        }
        assert {each for each in asked(taken) if not each.startswith(("sslc", "sslk", "sslr"))} <= known


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("connect_timeout=15", {"timeout": 15.0}),
        ("connect_timeout=1", {"timeout": 2.0}),
        ("connect_timeout=0", {"timeout": 3600.0}),
        ("", {"timeout": 10.0}),
    ],
)
def test_connect_timeout_is_that_of_libpq(query: str, wanted: dict[str, float]) -> None:
    assert connection_arguments(f"{URL}?{query}", {}).timeout == wanted["timeout"]


@pytest.mark.parametrize(
    "query",
    [
        "channel_binding=require",
        "gssencmode=require",
        "sslmode=yes",
        *(f"ssl={value}" for value in ("require", "verify-full", "1", "on", "yes", "True", "false", "0", "")),
        "target_session_attrs=writer",
        "connect_timeout=soon",
        "hostaddr=10.0.0.1",
        "load_balance_hosts=random",
        "port=many",
        "service=nowhere",
    ],
)
def test_what_can_not_be_satisfied_is_refused_and_never_dropped(query: str) -> None:
    with pytest.raises(UsageError, match=query.partition("=")[0]):
        connection_arguments(f"postgresql://me@db/x?{query}", {})


def test_ssl_is_true_or_names_what_to_write(tmp_path: Path) -> None:
    assert connection_arguments(f"{URL}?ssl=true", {"PGSSLMODE": "disable"}).others["ssl"] == "require"
    assert "ssl" not in asked(connection_arguments(f"{URL}?ssl=true", {}))
    file = tmp_path / "pg_service.conf"
    file.write_text("[shop]\nssl=true\n[open]\nssl=on\nsslmode=disable\n")
    environ = {"PGSERVICEFILE": str(file)}
    assert connection_arguments(f"{URL}?service=shop", environ).others["ssl"] == "require"
    with pytest.raises(UsageError, match=f"{file}, service open: ssl") as raised:
        connection_arguments(f"{URL}?service=open", environ)
    assert "sslmode=" in str(raised.value.hint)


def test_settings_of_postgres_reach_postgres() -> None:
    given = asked(
        connection_arguments(f"{URL}?search_path=shop&options=-c%20geqo%3Doff&statement_timeout=9s", {})
    )
    assert given["search_path"] == "shop"
    assert given["options"] == "-c geqo=off"
    assert given["statement_timeout"] == "9s"


def test_a_variable_counts_where_the_string_has_nothing() -> None:
    environ = {
        "PGUSER": "you",
        "PGPASSWORD": "word",
        "PGDATABASE": "y",
        "PGOPTIONS": "-c geqo=off",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "7",
        "PGTARGETSESSIONATTRS": "read-write",
    }
    arguments = connection_arguments("postgresql://me@db", environ)
    assert asked(arguments) == {
        "user": "me",
        "password": "word",
        "host": "db",
        "port": "5432",
        "dbname": "y",
        "options": "-c geqo=off",
    }
    assert arguments.timeout == 7
    assert arguments.others["ssl"] == "require"
    assert arguments.others["target_session_attrs"] == "read-write"
    assert "word" not in repr(arguments)


def test_a_variable_that_can_not_be_satisfied_is_named() -> None:
    with pytest.raises(UsageError, match="PGCHANNELBINDING"):
        connection_arguments(URL, {"PGCHANNELBINDING": "require"})


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("value", ["1", "/nowhere", "require", "standby"])
def test_no_variable_changes_the_connection_to_the_embedded_postgres(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database_url(Path("/run/pg"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before, plain = connection_arguments(url), psql_command(url, [])
    monkeypatch.setenv(variable, value)
    assert connection_arguments(url) == before
    shown, environment = psql_command(url, [])
    assert shown == plain[0]
    assert variable not in environment or variable == "PGCLIENTENCODING"


def test_a_service_gives_what_the_string_does_not(tmp_path: Path) -> None:
    file = tmp_path / "pg_service.conf"
    file.write_text(
        "# ours\n[shop]\nhost=db1,db2\nport=5433\nuser=me\npassword=wo%rd\ndbname=x\nconnect_timeout=4\n"
    )
    environ = {"PGSERVICEFILE": str(file)}
    for arguments in (
        connection_arguments("postgresql://you@?service=shop", environ),
        connection_arguments("postgresql://you@", {**environ, "PGSERVICE": "shop"}),
        connection_arguments(f"postgresql://you@?service=shop&servicefile={file}", {}),
    ):
        assert asked(arguments) == {
            "user": "you",
            "password": "wo%rd",
            "host": "db1,db2",
            "port": "5433,5433",
            "dbname": "x",
        }
        assert arguments.timeout == 4


def test_hosts_keep_their_ports() -> None:
    assert asked(connection_arguments("postgresql://a:1,[::1]:2,c:3/x", {}))["host"] == "a,[::1],c"
    assert asked(connection_arguments("postgresql://a:1,[::1]:2,c:3/x", {}))["port"] == "1,2,3"
    assert asked(connection_arguments("postgresql:///x?host=a,b&port=7", {}))["port"] == "7,7"


@pytest.mark.parametrize("character", "/?#%")
def test_a_password_that_must_be_escaped_is_not_taken_for_a_host(character: str) -> None:
    with pytest.raises(UsageError, match="escaped") as raised:
        connection_arguments(f"postgresql://me:hid{character}word@db/x", {})
    assert "hid" not in str(raised.value)
    assert "DATABASE_URL" in raised.value.message
    assert "%2F" in str(raised.value.hint)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hid%2Fden@db/x",
        "postgresql://me@db:5432/x?application_name=a@b",
        "postgresql://me:word@db/x?application_name=a@b#c",
        "postgresql://db:5432/x?user=me@corp&password=a@b",
        "postgresql://db:5432?user=me@corp",
        "postgresql:///x?user=me@corp",
        "postgres://me@[::1]:5432/x",
    ],
)
def test_a_string_without_such_a_password_is_taken(url: str) -> None:
    connection_arguments(url, {})


@pytest.mark.parametrize(
    "url", ["mysql://me@db/x", "host=db dbname=x", "postgresql+asyncpg://db/x", "", "://"]
)
def test_another_form_is_refused_with_the_form_that_is_taken(url: str) -> None:
    with pytest.raises(UsageError, match="DATABASE_URL can't be read") as raised:
        connection_arguments(url, {})
    assert "postgresql://" in str(raised.value.hint)


def test_another_login_of_the_embedded_postgres_keeps_its_password() -> None:
    url = database_url(Path("/run/pg")).replace("postgres@", "auditor:word@", 1)
    assert asked(connection_arguments(url))["password"] == "word"
    assert "password" not in connection_arguments(url).others


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@db/x?port=5432&options=",
        "postgresql://postgres@db/x?host=/run/pg&port=5432&options=",
        "postgresql://me@/x?host=/run/pg&port=5432&options=",
        "postgresql://postgres@/x?host=db&port=5432&options=",
    ],
)
def test_another_string_that_ends_with_empty_options_takes_the_variables(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asked(connection_arguments(url, {"PGPASSWORD": "word"}))["password"] == "word"
    file = tmp_path / "pass"
    file.write_text("*:*:*:*:filed\n")
    file.chmod(0o600)
    assert asked(connection_arguments(url, {"PGPASSFILE": str(file)}))["password"] == "filed"
    monkeypatch.setenv("PGPASSFILE", "/home/me/pass")
    assert psql_command(url, [])[1]["PGPASSFILE"] == "/home/me/pass"


def test_an_empty_parameter_of_tls_counts_more_than_its_variable_as_in_libpq(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver would read the variable again: it was in the way of the file that libpq uses, or of none."""
    monkeypatch.setenv("HOME", str(tmp_path))
    environ = {"PGSSLROOTCERT": "/nowhere", "PGSSLCERT": "/nowhere", "PGSSLCRL": "/nowhere"}
    query = "sslrootcert=&sslcert=&sslkey=&sslcrl=&ssl_min_protocol_version=&ssl_max_protocol_version="
    context = connection_arguments(f"{URL}?sslmode=require&{query}", environ).others["ssl"]
    assert context.verify_mode == ssl.CERT_NONE
    assert not context.check_hostname
    with pytest.raises(UsageError, match=r"sslmode=verify-full.* sslrootcert is empty"):
        connection_arguments(f"{URL}?sslmode=verify-full&{query}", environ)
    assert connection_arguments(f"{URL}?sslmode=require", environ).others["ssl"] == "require"


def test_white_space_around_a_string_is_no_part_of_it() -> None:
    assert asked(connection_arguments(f" {URL}\n", {})) == asked(connection_arguments(URL, {}))


def test_a_parameter_in_the_query_counts_more_than_the_same_before_it_as_in_libpq() -> None:
    found = connection_arguments(
        "postgresql://a:wrong@here:1/b?user=u&password=right&host=there&port=2&dbname=d", {}
    )
    assert {name: found.parameters[name] for name in ("user", "host", "port", "dbname")} == {
        "user": "u",
        "host": "there",
        "port": "2",
        "dbname": "d",
    }
    assert "right" in found.dsn or found.others.get("password") == "right"
    assert "wrong" not in f"{found.dsn} {found.others}"
