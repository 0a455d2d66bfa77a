"""The whole examination, in an order in which each check depends only on those before it.

It changes nothing: it creates no file and migrates no schema. Embedded services that are not running are started for
it, as for every command, because most faults show only then. Without that, their state is reported as it is.
"""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.bus.address import bus_address
from vaultstream.bus.connection import BUS_ERRORS, Bus, connect_bus
from vaultstream.doctor.attestation import examine_attestation
from vaultstream.doctor.custody import examine_custody, examine_kek_file
from vaultstream.doctor.database import examine_database
from vaultstream.doctor.findings import Finding, failed, failed_by, judge_transit, ok
from vaultstream.doctor.jobs import examine_jobs, read_open_jobs
from vaultstream.doctor.machine import examine_machine
from vaultstream.doctor.revocations import examine_revocations
from vaultstream.doctor.seals import examine_seals
from vaultstream.doctor.signing import examine_signing
from vaultstream.doctor.source import examine_owned_code, examine_source_login
from vaultstream.doctor.streams import examine_bus, examine_streams
from vaultstream.errors import BusError, VaultStreamError, shown
from vaultstream.local.files import whole_data_dir
from vaultstream.local.services import LocalServices, Services, inspect_services
from vaultstream.settings import kek_file, revocations_file, seal_key_file, seals_dir
from vaultstream.store.database import connect, explain
from vaultstream.store.source_login import SourceDatabase

if TYPE_CHECKING:
    from vaultstream.bus.inspection import StreamState
    from vaultstream.settings import Settings
    from vaultstream.store.database import Connection


async def examine(settings: Settings, *, start: bool = True) -> list[Finding]:
    """Checks everything and returns the findings; a fault becomes a finding, never an exception.

    Args:
        settings: where the services are.
        start: whether embedded services that are not running are started, and stopped again.
    """
    async with AsyncExitStack() as stack:
        return await _Examination(settings, stack, start=start).run()


class _Examination:
    def __init__(self, settings: Settings, stack: AsyncExitStack, *, start: bool) -> None:
        self._settings = settings
        self._stack = stack
        self._start = start
        self._data_dir = whole_data_dir(settings.data_dir)
        self._findings: list[Finding] = []

    async def run(self) -> list[Finding]:
        if self._settings.embedded:
            self._findings += examine_machine(self._data_dir)
        self._findings.append(examine_signing())
        connection = await self._open_database()
        bus = await self._open_bus()
        streams = await self._check_bus(bus) if bus else None
        kek_path = kek_file(self._settings)
        if connection is None:
            if kek_path.exists():
                self._findings.append(examine_kek_file(kek_path)[0])
            return self._findings
        try:
            await self._check_jobs(connection, bus, streams, kek_path)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            self._findings.append(failed_by("Postgres", explain(error)))
        except BusError as error:
            self._findings.append(failed_by("NATS", error))
        except BUS_ERRORS as error:
            self._findings.append(_bus_failed(error))
        return self._findings

    async def _check_jobs(
        self, connection: Connection, bus: Bus | None, streams: list[StreamState] | None, kek_path: Path
    ) -> None:
        open_jobs = await read_open_jobs(connection)
        if bus is not None and streams is not None:
            self._findings += await examine_streams(connection, bus, streams, open_jobs)
        self._findings += await examine_jobs(connection, open_jobs)
        self._findings += await examine_custody(connection, kek_path, made_by_itself=self._settings.embedded)
        self._findings += await examine_revocations(connection, revocations_file(self._settings))
        self._findings += await examine_seals(
            connection,
            seal_key_file(self._settings),
            seals_dir(self._settings),
            unborn=self._makes_keys(),
        )
        self._findings += await examine_attestation(connection, self._settings, seal_key_file(self._settings))

    def _makes_keys(self) -> bool:
        """Returns whether a command would create the missing files of keys."""
        return self._settings.embedded and not kek_file(self._settings).exists()

    async def _open_database(self) -> Connection | None:
        """Returns a connection to a database with a schema that this program works with; None if there is none."""
        given = self._settings.database_url
        if given is not None:
            url = given.get_secret_value()
        else:
            services = await self._embedded("Postgres", "postgres")
            if services is None:
                return None
            url = services.database_url
        try:
            connection = await self._stack.enter_async_context(connect(url, role="doctor"))
            self._findings += judge_transit("Postgres", connection.plain_peer)
            findings, usable = await examine_database(connection, url, embedded=given is None)
            if usable:
                source = SourceDatabase.by(self._settings, url) if given else SourceDatabase.of(url, None)
                findings += await examine_source_login(connection, source, embedded=given is None)
                findings += await examine_owned_code(connection)
        except (
            VaultStreamError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            OSError,
            TimeoutError,
        ) as error:
            self._findings.append(failed_by("Postgres", explain(error)))
            return None
        self._findings += findings
        return connection if usable else None

    async def _open_bus(self) -> Bus | None:
        settings = self._settings
        try:
            if settings.nats_url is not None:
                address = bus_address(settings, settings.nats_url)
            else:
                services = await self._embedded("NATS", "nats")
                if services is None:
                    return None
                address = services.bus_address
            bus = await self._stack.enter_async_context(connect_bus(address, role="auditor", attempts=1))
        except VaultStreamError as error:
            self._findings.append(failed_by("NATS", error))
            return None
        self._findings += judge_transit("NATS", bus.client.plain_peer)
        return bus

    async def _check_bus(self, bus: Bus) -> list[StreamState] | None:
        url = str(bus.client.connected_url.geturl()) if bus.client.connected_url else ""
        try:
            findings, streams = await examine_bus(bus, url)
        except BusError as error:
            self._findings.append(failed_by("NATS", error))
            return None
        except BUS_ERRORS as error:
            self._findings.append(_bus_failed(error))
            return None
        self._findings += findings
        return streams

    async def _embedded(self, name: str, folder: str) -> Services | None:
        """Returns how to reach an embedded service, after starting it if needed and allowed; None if it does not run."""
        inspection = inspect_services(self._data_dir)
        runs = (inspection.postgres if folder == "postgres" else inspection.nats) is not None
        if not runs and not (self._data_dir / folder).is_dir():
            self._findings.append(
                ok(name, "The embedded server was never started; any command that needs it starts it.")
            )
            return None
        if not runs and not self._start:
            self._findings.append(
                ok(name, "The embedded server is not running; any command that needs it starts it.")
            )
            return None
        local = LocalServices(
            self._data_dir,
            postgres=folder == "postgres",
            nats=folder == "nats",
            # They exist, so none is created: doctor reports a missing file.
            kek_file=Path(os.devnull),
            seal_key_file=Path(os.devnull),
        )
        try:
            return await (await self._stack.enter_async_context(local)).services()
        except VaultStreamError as error:
            self._findings.append(failed_by(name, error))
            return None


def _bus_failed(error: BaseException) -> Finding:
    return failed(
        "NATS",
        f"JetStream does not answer: {shown(error)}.",
        "See the log of nats-server.",
    )
