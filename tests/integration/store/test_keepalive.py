"""A Postgres that has gone without a word: no last packet, nothing refused, only silence."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from support.as_user import connect
from vaultstream.store import keepalive
from vaultstream.store.database import is_transient, open_pool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vaultstream.local.services import Services

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("ip") is None, reason="a network of its own needs root and iproute2"
    ),
]

_RELAY = """
import asyncio, sys

async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)

async def carry(reader, writer):
    answers, far = await asyncio.open_unix_connection(sys.argv[1])
    await asyncio.gather(pump(reader, far), pump(answers, writer))

async def main():
    server = await asyncio.start_server(carry, sys.argv[2], 5432)
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def far_away(socket: str) -> Iterator[tuple[str, str]]:
    """Serves a Unix socket in a network of its own; yields that network's name, whose link can be taken down, and an address."""
    name, subnet = f"vs{secrets.token_hex(4)}", 4 * secrets.randbelow(64)
    here, there = (f"203.0.113.{subnet + n}" for n in (1, 2))  # of a range for documentation: nobody has them
    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "far", "netns", name)
        ip("addr", "add", f"{here}/30", "dev", name)
        ip("link", "set", name, "up")
        ip("-n", name, "addr", "add", f"{there}/30", "dev", "far")
        ip("-n", name, "link", "set", "far", "up")
        words = ["ip", "netns", "exec", name, sys.executable, "-c", _RELAY, socket, there]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as relay:
            try:
                assert relay.stdout
                assert relay.stdout.readline() == b"ready\n"
                yield name, there
            finally:
                relay.kill()
    finally:
        subprocess.run(
            ["ip", "link", "del", name], check=False
        )  # at once; with its network, it would go some time later
        ip("netns", "del", name)


async def test_a_query_to_a_postgres_that_vanished_ends_in_a_connection_error(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepalive, "IDLE_SECONDS", 1)
    monkeypatch.setattr(keepalive, "INTERVAL_SECONDS", 1)
    parts = urlsplit(services.database_url)
    socket = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
    with far_away(socket) as (network, address):
        url = f"postgresql://{parts.netloc.rpartition('@')[0]}@{address}:5432{parts.path}?sslmode=disable"
        async with connect(url, role="far") as single, open_pool(url, role="far", size=1) as pool:
            asked = [asyncio.create_task(far.fetchval("SELECT pg_sleep(60)")) for far in (single, pool)]
            await asyncio.sleep(
                0.2
            )  # they are on their way; where they are when the link goes does not matter
            ip("-n", network, "link", "set", "far", "down")
            _, waiting = await asyncio.wait(asked, timeout=30)
            assert not waiting, "it waits for hours"
    for error in (question.exception() for question in asked):
        assert error is not None
        assert is_transient(error)
