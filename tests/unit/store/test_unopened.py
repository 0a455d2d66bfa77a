"""A connection that can't be opened is explained by the parameter, the file or the address at fault."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import asyncpg
import pytest

from vaultstream.errors import ExitCode, UsageError, VaultStreamError
from vaultstream.store.conninfo import connection_arguments
from vaultstream.store.unopened import explain_unopened

pytestmark = pytest.mark.unit

NO_ENTRY = 'no pg_hba.conf entry for host "10.0.0.7", user "me", database "x"'


def explained(
    error: BaseException, query: str = "", url: str = "postgresql://me@db/x"
) -> VaultStreamError | None:
    return explain_unopened(error, connection_arguments(url + query, {"HOME": "/nowhere"}))


@pytest.mark.parametrize(
    ("error", "url", "named"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "postgresql://me@db/x",
            "db:5432: Name or service",
        ),
        (ConnectionRefusedError(111, "refused"), "postgresql://me@a,[::1]:7/x", "a:5432, [::1]:7: refused"),
        (
            FileNotFoundError(2, "No such file"),
            "postgresql://me@/x?host=/run/pg",
            "/run/pg/.s.PGSQL.5432: No",
        ),
        (TimeoutError(), "postgresql://me@db/x", "db:5432: no answer in time"),
        (UnicodeError("label too long"), f"postgresql://me@{'a' * 300}/x", "name of a host"),
    ],
)
def test_the_address_that_does_not_answer_is_named(error: BaseException, url: str, named: str) -> None:
    told = explained(error, url=url)
    assert told is not None
    assert named in told.message


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", f"{NO_ENTRY}, no encryption"),
        ("?sslmode=require", f"{NO_ENTRY}, SSL encryption"),
        ("?sslmode=disable", 'pg_hba.conf rejects connection for host "10.0.0.7", user "me", database "x"'),
    ],
)
def test_a_login_that_the_server_admits_nowhere_is_no_wrong_password(query: str, text: str) -> None:
    told = explained(asyncpg.InvalidAuthorizationSpecificationError(text), query)
    assert told is not None
    assert "pg_hba.conf" in str(told.hint)
    assert "10.0.0.7" in told.message


def test_a_missing_password_is_no_wrong_one(tmp_path: Path) -> None:
    wrong = asyncpg.InvalidPasswordError("password authentication failed")
    assert explained(wrong, url="postgresql://me:word@db/x") is None
    told = explained(wrong)
    assert told is not None
    assert "asks for a password" in told.message
    file = tmp_path / "pass"
    file.write_text("*:*:*:*:word\n")
    file.chmod(0o644)
    told = explained(wrong, f"?passfile={file}")
    assert told is not None
    assert "chmod 600" in told.message


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    service = tmp_path / "services"
    service.write_text(f"[a]\nhost=db\nuser=me\nsslmode=verify-ca\nsslrootcert={file}\n[b]\nsslcert={file}\n")
    for name, parameter in (("a", "sslrootcert"), ("b", "sslcert")):
        told = explained(
            ssl.SSLError("NO_CERTIFICATE_OR_CRL_FOUND"),
            url=f"postgresql://?service={name}&servicefile={service}",
        )
        assert isinstance(told, UsageError)
        assert parameter in told.message
        assert str(file) in told.message
    missing = explained(FileNotFoundError(2, "No such file"), f"?sslcert={tmp_path}/none")
    assert isinstance(missing, UsageError)
    assert "sslcert" in missing.message


def test_a_server_that_takes_no_direct_tls_is_named() -> None:
    told = explained(ConnectionResetError(), "?sslmode=require&sslnegotiation=direct")
    assert told is not None
    assert "sslnegotiation" in told.message


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("postgresql://me@db/x?sslnegotiation=direct", "sslnegotiation"),
        ("postgresql://me@db/x?ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2", "ssl_min"),
        ("postgresql://me@a,b/x?port=1,2,3", "3 ports for 2 hosts"),
        ("postgresql://me@a,,b/x", "host is empty"),
        ("postgresql://me@db/x%00y", "dbname"),
        ("postgresql://me:w%FFrd@db/x", "password"),
        ("postgresql://me@db/x?=y", "without a name"),
    ],
)
def test_what_the_driver_would_not_understand_is_refused_by_its_name(url: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        connection_arguments(url, {})


@pytest.mark.parametrize("encrypted", ["sslmode=require", "sslrootcert=system", "requiressl=1"])
def test_direct_tls_is_taken_where_the_connection_is_encrypted_in_any_case(encrypted: str) -> None:
    connection_arguments(f"postgresql://me@db/x?sslnegotiation=direct&{encrypted}", {})


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me@[::1]:PORT/x",
        "postgresql://me@/x?host=::1&port=PORT",
        "postgresql://me@127.0.0.1,[::1]:PORT/x",
    ],
)
def test_an_ipv6_address_is_one_host(url: str) -> None:
    """As the driver splits the hosts, which takes a colon for the begin of a port."""
    arguments = connection_arguments(url.replace("PORT", "5433"), {})
    nothing = [
        "host",
        "port",
        "user",
        "passfile",
        "database",
        "service",
        "servicefile",
        "server_settings",
        "krbsrvname",
    ]
    parse = asyncpg.connect_utils._parse_connect_dsn_and_args  # type: ignore[attr-defined]
    addresses, _ = parse(**dict.fromkeys(nothing), **arguments.others, dsn=arguments.dsn)
    assert addresses[-1] == ("::1", 5433)


def test_a_hash_belongs_to_the_database_as_in_libpq() -> None:
    assert connection_arguments("postgresql://me@db/x#y", {}).parameters["dbname"] == "x#y"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (asyncpg.ProtocolViolationError("no such database: x"), "Add the database"),
        (asyncpg.TooManyConnectionsError("no more connections allowed (max_client_conn)"), "max_client_conn"),
        (asyncpg.ProtocolViolationError("query_wait_timeout"), "pool_size"),
        (asyncpg.ProtocolViolationError("cached error: connect failed (server_login_retry)"), "its log"),
        (asyncpg.InternalServerError("MaxClientsInSessionMode: max clients reached"), "pool_size"),
        (asyncpg.FeatureNotSupportedError("RDS Proxy currently doesn't support the option jit."), "itself"),
        (asyncpg.ProtocolViolationError("unsupported startup parameter: jit"), "pool_mode=session"),
    ],
)
def test_what_a_pooler_says_is_told_as_its_answer(error: BaseException, hint: str) -> None:
    told = explained(error)
    assert told is not None
    assert told.exit_code is ExitCode.SERVICE
    assert "connection pooler" in told.message
    assert hint in str(told.hint)
    assert ".." not in told.message


def test_an_answer_that_is_no_error_of_ours_is_one_of_the_connection() -> None:
    told = explained(asyncpg.InternalServerError("Tenant or user not found."))
    assert told is not None
    assert told.exit_code is ExitCode.SERVICE
    assert told.message.endswith("refuses the connection: Tenant or user not found.")


@pytest.mark.parametrize(
    ("query", "another"), [("", True), ("?sslmode=allow", True), ("?sslmode=require", False)]
)
def test_a_server_that_is_not_postgres_is_not_said_to_lack_tls(query: str, another: bool) -> None:
    told = explained(ConnectionError('PostgreSQL server at "db:4222" rejected SSL upgrade'), query)
    assert bool(told and "db:5432 is not Postgres" in told.message) is another
