"""A pooler in session mode, as a proxy that refuses the settings that PgBouncer refuses at the start of a connection."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from support.as_user import connect
from vaultstream.errors import DatabaseError, UsageError
from vaultstream.store.database import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.integration

TAKEN = {"user", "database", "application_name", "client_encoding", "timezone", "standard_conforming_strings"}


@asynccontextmanager
async def pooler(url: str, *, refuses_all: bool = False, drops: bool = False) -> AsyncIterator[str]:
    """Carries connections to the database of `url`, each with a session of its own; yields the URL through it.

    With `drops`, it takes settings that it does not know and drops them (`ignore_startup_parameters`). As any pooler does, it
    makes up the process that it names to a client.
    """
    parts = urlsplit(url)
    socket = Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = struct.unpack("!i", await reader.readexactly(4))[0]
        body = await reader.readexactly(length - 4)
        if len(body) == 4:  # asks for TLS
            writer.write(b"N")
            length = struct.unpack("!i", await reader.readexactly(4))[0]
            body = await reader.readexactly(length - 4)
        words = body[4:].split(b"\0")
        names = [word.decode() for word in words[0:-2:2]]
        unknown = next((name for name in names if name.lower() not in TAKEN), None)
        if drops:
            pairs = zip(words[0:-2:2], words[1:-1:2], strict=True)
            taken = [name + b"\0" + value + b"\0" for name, value in pairs if name.decode().lower() in TAKEN]
            body = body[:4] + b"".join(taken) + b"\0"
            length = len(body) + 4
        elif unknown or refuses_all:
            said = f"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: {unknown or 'user'}\0\0".encode()
            writer.write(b"E" + struct.pack("!i", len(said) + 4) + said)
            writer.close()
            return
        answers, server = await asyncio.open_unix_connection(socket)
        server.write(struct.pack("!i", length) + body)
        await _start_session(answers, writer)
        await asyncio.gather(_carry(reader, server), _carry(answers, writer))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}{parts.path}"
    finally:
        listening.close()


async def _start_session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries the messages of the start, with another process in the one that names it."""
    kind = b""
    while kind != b"K":
        kind = await reader.readexactly(1)
        size = await reader.readexactly(4)
        message = await reader.readexactly(struct.unpack("!i", size)[0] - 4)
        if kind == b"K":
            message = struct.pack("!i", 7) + message[4:]
        writer.write(kind + size + message)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
    writer.close()


async def test_settings_that_a_pooler_refuses_are_set_in_the_session_and_stay_set(engine_url: str) -> None:
    asked = "SELECT current_setting('jit'), current_setting('transform_null_equals'), current_setting('statement_timeout')"
    async with pooler(engine_url) as url:
        async with connect(url, settings={"statement_timeout": "9s"}) as connection:
            assert tuple(await connection.fetchrow(asked)) == ("off", "off", "9s")
            assert connection.get_server_pid() == await connection.fetchval("SELECT pg_backend_pid()")
        async with open_pool(url, role="tests", size=1, settings={"statement_timeout": "9s"}) as pool:
            for _ in "ab":
                async with pool.acquire() as lent:
                    assert tuple(await lent.fetchrow(asked)) == ("off", "off", "9s")
                    await lent.execute("SET jit = on")


async def test_settings_that_a_pooler_takes_and_drops_are_set_in_the_session(engine_url: str) -> None:
    """Else the search path of a source would be that of its login, in which others may create what stands in for a function."""
    async with (
        pooler(engine_url, drops=True) as url,
        connect(url, settings={"search_path": "pg_catalog, pg_temp"}) as connection,
    ):
        assert await connection.fetchval("SHOW search_path") == "pg_catalog, pg_temp"
        assert await connection.fetchval("SHOW jit") == "off"
        assert connection.get_server_pid() == await connection.fetchval("SELECT pg_backend_pid()")


async def test_a_pooler_that_refuses_the_connection_is_called_one(engine_url: str) -> None:
    async with pooler(engine_url, refuses_all=True) as url:
        with pytest.raises(DatabaseError, match="pooler") as raised:
            async with connect(url):
                pass
        assert "session" in str(raised.value.hint)


async def test_a_parameter_that_postgres_does_not_know_is_bad_input(engine_url: str) -> None:
    with pytest.raises(UsageError, match="connection_limit"):
        async with connect(engine_url.replace("&options=", "&connection_limit=5")):
            pass
