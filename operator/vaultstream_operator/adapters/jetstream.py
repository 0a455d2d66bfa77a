"""The port `Lags` on JetStream: reads the lag of jobs' consumers and removes jobs' data."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, suppress
from typing import Self

from vaultstream.bus.address import BusAddress
from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.bus.records import RecordsStream
from vaultstream.deletion import remove_messages
from vaultstream.errors import BusError, shown
from vaultstream.scaling.observation import Lag
from vaultstream.scaling.reasons import LagProblem, Reason

log = logging.getLogger(__name__)

NATS_ANSWER_SECONDS = 0.8
"""Timeout for reading a lag: after it the lag is unknown, because other jobs wait."""
FIRST_SECONDS = 1.0
"""How long the first read waits for the connection, so that a connection in progress does not count as an outage."""
RECONNECT_SECONDS = 0.5


class JetStreamLags:
    """Reads lags through the JetStream API, over one connection that reconnects by itself.

    An asynchronous context manager. Entering it does not wait: while NATS is unreachable, lags are unknown.
    """

    def __init__(self, address: BusAddress) -> None:
        self._address = address
        self._bus: Bus | None = None
        self._problem = "connecting."
        self._keeping: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        """Set once the first attempt has succeeded, failed or taken too long."""

    async def __aenter__(self) -> Self:
        self._keeping = asyncio.create_task(self._keep_connected())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._keeping is None:
            return
        while (
            not self._keeping.done()
        ):  # nats-py loses a cancellation that comes while it closes a connection
            self._keeping.cancel()
            await asyncio.wait({self._keeping}, timeout=RECONNECT_SECONDS)
        await asyncio.gather(self._keeping, return_exceptions=True)

    async def read(self, token: str, tenant: str | None = None) -> Lag | LagProblem:
        """Returns pending and in-flight batches of a job, or why they are unknown, within 1 s (2 s for the first call)."""
        bus = await self._connected()
        if bus is None:
            return Reason.NATS_UNREACHABLE
        try:
            async with asyncio.timeout(NATS_ANSWER_SECONDS):
                lag = await RecordsStream(bus.of_tenant(tenant)).lag(token)
        except (BusError, *BUS_ERRORS) as error:
            log.debug("can't read the lag of %s: %s", token, shown(error))
            return Reason.NATS_UNREACHABLE
        return Reason.CONSUMER_MISSING if lag is None else Lag(lag.pending, lag.ack_pending)

    async def remove(self, token: str, tenant: str | None = None) -> None:
        """Removes all data of a job in JetStream. Missing data is not an error.

        Raises:
            BusError: NATS is unreachable; its message is one clause that ends with a full stop.
        """
        bus = await self._connected()
        if bus is None:
            raise BusError(self._problem)
        try:
            await remove_messages(bus, token, tenant)
        except BUS_ERRORS as error:
            raise BusError(f"{shown(error)}.") from None

    async def _connected(self) -> Bus | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST_SECONDS):
                await self._tried.wait()
        self._tried.set()
        return self._bus if self._bus is not None and self._bus.client.is_connected else None

    async def _keep_connected(self) -> None:
        while True:
            try:
                async with AsyncExitStack() as stack:
                    bus = await stack.enter_async_context(
                        connect_bus(self._address, role="operator", attempts=1)
                    )
                    self._bus = bus
                    self._tried.set()
                    self._problem = "disconnected."
                    while not bus.client.is_closed:  # noqa: ASYNC110 - the client has no event for it
                        await asyncio.sleep(RECONNECT_SECONDS)
            except BusError as error:
                self._problem = error.message.removeprefix("NATS does not answer: ")
            except BUS_ERRORS as error:
                self._problem = f"{shown(error)}."
            finally:
                self._bus = None
                self._tried.set()
            await asyncio.sleep(RECONNECT_SECONDS)
