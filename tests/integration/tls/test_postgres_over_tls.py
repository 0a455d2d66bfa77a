"""Postgres over TLS with its certificate verified, and what is wrong in words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from cryptography.hazmat.primitives import serialization

from kube.certificates import Authority
from support.as_user import connect
from support.engine import new_name
from support.guarded import CERTIFIED, GuardedDatabase, guarded_database
from vaultstream.errors import VaultStreamError
from vaultstream.local.services import Services
from vaultstream.store.database import open_pool

pytestmark = pytest.mark.integration


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[GuardedDatabase]:
    async with guarded_database(postgres_url, new_name("shop")) as database:
        yield database


async def refusal(url: str) -> str:
    """Returns why Postgres can't be used, as the command and the pool of a worker say it."""
    told = []
    for opening in (connect(url), open_pool(url, role="test", size=1)):
        with pytest.raises(VaultStreamError) as caught:
            async with opening:
                pass
        told.append(f"{caught.value.message} {caught.value.hint}")
    assert told[0] == told[1]
    return told[0]


async def test_a_login_of_a_role_works_encrypted(database: GuardedDatabase) -> None:
    async with connect(database.urls["signing"]) as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def test_postgres_asks_a_silent_client_whether_it_is_there_and_gives_up_within_half_a_minute(
    database: GuardedDatabase,
) -> None:
    """Its answers are the kernel's, of this very socket. A session that went on for hours would hold on to its rows."""
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
    url = database.urls["signing"]
    async with connect(url) as single, open_pool(url, role="test", size=1) as pool, pool.acquire() as pooled:
        for connection in (single, pooled):
            assert await connection.fetchval("SELECT inet_client_addr() IS NOT NULL"), "over TCP"
            idle, interval, count, unacknowledged = [
                int(await connection.fetchval("SELECT setting FROM pg_settings WHERE name = $1", name))
                for name in names
            ]
            assert 0 < idle + interval * count <= 30
            assert 0 < unacknowledged <= 30_000


async def test_an_unknown_authority_is_reported(
    database: GuardedDatabase, authority: Authority, stranger: Authority
) -> None:
    url = database.urls["signing"].replace(str(authority.pair.certificate), str(stranger.pair.certificate))
    told = await refusal(url)
    assert "Postgres can't be trusted: its certificate was issued by an unknown authority" in told
    assert "sslrootcert" in told


async def test_a_certificate_for_another_host_is_reported(database: GuardedDatabase) -> None:
    told = await refusal(database.urls["signing"].replace("@localhost", "@127.0.0.1"))
    assert "its certificate is for another host" in told


async def test_a_missing_or_invalid_root_certificate_is_named(
    database: GuardedDatabase, authority: Authority, tmp_path: Path
) -> None:
    missing, garbage = tmp_path / "missing.crt", tmp_path / "garbage.crt"
    garbage.write_text("not a certificate")
    url = database.urls["signing"]
    told = await refusal(url.replace(str(authority.pair.certificate), str(missing)))
    assert str(missing) in told
    assert "sslrootcert" in told
    told = await refusal(url.replace(str(authority.pair.certificate), str(garbage)))
    assert f"sslrootcert: the file {garbage}" in told


async def test_an_unencrypted_connection_refused_by_the_server_is_explained(
    database: GuardedDatabase,
) -> None:
    url = database.urls["signing"].partition("?")[0] + "?sslmode=disable"
    told = await refusal(url)
    assert "accepts only encrypted connections of this user" in told
    assert "sslmode=verify-full" in told


async def test_a_server_without_tls_is_refused_with_an_explanation(
    services: Services, authority: Authority, tmp_path: Path
) -> None:
    """Simulates a server that answers N to a request for TLS: none of our servers listens on TCP without TLS."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"N")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"postgresql://me:hidden@localhost:{port}/db?sslmode=verify-full&sslrootcert={authority.pair.certificate}"
        told = await refusal(url)
    assert "Postgres offers no TLS" in told
    assert "hidden" not in told


async def test_a_wrong_password_is_reported_as_such(database: GuardedDatabase) -> None:
    login = database.logins["keys"]
    url = database.urls["keys"].replace(f"{login}:", f"{login}:x", 1)
    assert "refuses the user or the password" in await refusal(url)


async def test_the_variables_of_libpq_do_as_well_as_the_url(
    database: GuardedDatabase, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    monkeypatch.setenv("PGSSLROOTCERT", str(authority.pair.certificate))
    async with connect(database.urls["auditor"].partition("?")[0]) as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")


async def test_a_missing_privilege_is_reported_with_its_grant(database: GuardedDatabase) -> None:
    async with connect(database.urls["auditor"]) as connection:
        with pytest.raises(
            asyncpg.InsufficientPrivilegeError, match="permission denied for table key_material"
        ):
            await connection.fetch("SELECT * FROM vaultstream.key_material")


@pytest.fixture
async def certified(postgres_url: str) -> str:
    """The URL of a user who needs a client certificate."""
    async with connect(postgres_url) as connection:
        if not await connection.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = $1", CERTIFIED):
            await connection.execute(f"CREATE ROLE {CERTIFIED} LOGIN")
    return f"postgresql://{CERTIFIED}@{postgres_url.partition('@')[2]}"


def encrypted(key: Path, folder: Path, password: str) -> Path:
    loaded = serialization.load_pem_private_key(key.read_bytes(), None)
    way = serialization.BestAvailableEncryption(password.encode())
    written = folder / "encrypted.key"
    written.write_bytes(
        loaded.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, way)
    )
    return written


async def test_a_user_logs_in_with_a_client_certificate(
    certified: str, authority: Authority, tmp_path: Path
) -> None:
    pair = authority.issue(CERTIFIED, CERTIFIED)
    key = encrypted(pair.key, tmp_path, "secret")
    for files in (f"sslkey={pair.key}", f"sslkey={key}&sslpassword=secret"):
        async with connect(f"{certified}&sslcert={pair.certificate}&{files}") as connection:
            assert await connection.fetchval("SELECT current_user") == CERTIFIED


async def test_what_is_wrong_with_a_client_certificate_is_named(
    certified: str, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    pair, strange = authority.issue(CERTIFIED, CERTIFIED), stranger.issue(CERTIFIED, CERTIFIED)
    other = authority.issue("another", "another")
    key = encrypted(pair.key, tmp_path, "secret")
    url = f"{certified}&sslcert={pair.certificate}"
    assert "asks for a client certificate" in await refusal(certified)
    assert f"can't be used with the key {strange.key}" in await refusal(f"{url}&sslkey={strange.key}")
    assert "sslpassword" in await refusal(f"{url}&sslkey={key}&sslpassword=wrong")
    assert "sslkey: the file /nowhere can't be read" in await refusal(f"{url}&sslkey=/nowhere")
    assert "sslcrl: the file /nowhere can't be read" in await refusal(
        f"{url}&sslkey={pair.key}&sslcrl=/nowhere"
    )
    unknown = await refusal(f"{certified}&sslcert={strange.certificate}&sslkey={strange.key}")
    assert "may not know the authority that issued the client certificate" in unknown
    refused = await refusal(f"{certified}&sslcert={other.certificate}&sslkey={other.key}")
    assert "refuses the client certificate" in refused


async def test_verify_ca_takes_any_name_and_no_other_authority(
    postgres_url: str, stranger: Authority, authority: Authority
) -> None:
    url = postgres_url.replace("@localhost", "@127.0.0.1").replace("verify-full", "verify-ca")
    async with connect(url) as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    strange = url.replace(str(authority.pair.certificate), str(stranger.pair.certificate))
    assert "unknown authority" in await refusal(strange)


async def test_the_authorities_of_the_system_are_asked_for_the_name_of_the_host_too(
    postgres_url: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with libpq, `sslrootcert=system` alone asks for sslmode=verify-full."""
    url = postgres_url.partition("?")[0] + "?sslrootcert=system"
    assert "unknown authority" in await refusal(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pair.certificate))
    async with connect(url) as connection:
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert "its certificate is for another host" in await refusal(url.replace("@localhost", "@127.0.0.1"))
    assert "sslmode can't be 'require' with sslrootcert=system" in await refusal(f"{url}&sslmode=require")
