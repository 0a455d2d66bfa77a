"""The connection to NATS."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client

from vaultstream.errors import DOCTOR, BusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.js import JetStreamContext

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_SECONDS = 5
API_TIMEOUT_SECONDS = 5.0

BUS_ERRORS = (nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError)
"""What any call on the bus may raise when NATS is away; a reconnect is under way already."""


@dataclass(frozen=True)
class BusAddress:
    """Where NATS is, and who we are there."""

    url: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Bus:
    """A connection to NATS, and JetStream over it."""

    client: Client
    jetstream: JetStreamContext


@asynccontextmanager
async def connect_bus(address: BusAddress, *, role: str, attempts: int = 3) -> AsyncIterator[Bus]:
    """Connects to NATS, keeps reconnecting for as long as it is used, and closes.

    Args:
        address: where it is; a user in the URL wins over the address's own.
        role: which part of VaultStream asks; NATS shows it as the connection's name.
        attempts: how often to try before giving up the first connection.

    Raises:
        BusError: NATS can't be reached or refuses, in words for people.
    """
    client = await _connect(address, role, attempts)
    try:
        yield Bus(client, client.jetstream(timeout=API_TIMEOUT_SECONDS))
    finally:
        with suppress(*BUS_ERRORS):
            await asyncio.wait_for(_flush_and_close(client), timeout=3)
        if not client.is_closed:
            with suppress(*BUS_ERRORS):
                await client.close()


async def _flush_and_close(client: Client) -> None:
    if client.is_connected:
        await client.flush(timeout=2)  # the last acknowledgements
    await client.close()


async def _connect(address: BusAddress, role: str, attempts: int) -> Client:
    failures: list[Exception] = []

    async def on_error(error: Exception) -> None:
        failures.append(error)
        log.debug("nats: %s", error or type(error).__name__)

    async def on_disconnect() -> None:
        log.info("NATS is away")

    async def on_reconnect() -> None:
        log.info("NATS is back")

    own_user = "@" in address.url
    client = Client()
    try:
        await client.connect(
            address.url,
            name=f"vaultstream-{role}",
            user=None if own_user else address.user,
            password=None if own_user else address.password,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            max_reconnect_attempts=attempts,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]
            ping_interval=10,
            max_outstanding_pings=2,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
        )
    except (nats.errors.Error, OSError, TimeoutError, ValueError) as error:
        await client.close()
        raise _explain(failures or [error]) from None
    client.options["max_reconnect_attempts"] = -1  # once it was there, it is waited for
    return client


def _explain(errors: list[Exception]) -> BusError:
    """Returns what a person should read; a refusal weighs more than the cut that a server makes after it."""
    if any("authorization" in f"{type(error).__name__} {error}".lower() for error in errors):
        return BusError(
            "NATS refuses the user or the password.",
            hint="Correct VAULTSTREAM_NATS_USER and VAULTSTREAM_NATS_PASSWORD.",
        )
    reason = str(errors[-1]) or type(errors[-1]).__name__
    return BusError(
        f"NATS does not answer: {reason}.",
        hint=f"Check VAULTSTREAM_NATS_URL and that NATS runs with JetStream; {DOCTOR}",
    )
