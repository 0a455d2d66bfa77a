"""The services of a data directory, shared by every command that uses it: the first starts them, the last stops them.

Who uses them holds a shared lock on `users.lock`, and the kernel lets go of it when its process ends, however it
ends. Starting, restarting, leaving and stopping take turns by `start.lock`. So a command that was killed leaves its
services running; the next one adopts them, and stops them if it is the last to leave.

What lies in the directory:

    kek             key-encryption keys            0600
    nats/           store, configuration, password 0700
    postgres/       cluster and socket             0700, of the user that Postgres runs as
    postgres.log, nats.log                         0600
    users.lock, start.lock                         0600
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from vaultstream.bus.connection import BusAddress, bus_address
from vaultstream.crypto.keyring import create_keyring
from vaultstream.errors import CustodyError, LocalServiceError, UsageError
from vaultstream.local.diagnosis import explain, free_bytes
from vaultstream.local.files import FileLock, make_private_dir
from vaultstream.local.nats import USER, EmbeddedNats
from vaultstream.local.postgres import EmbeddedPostgres
from vaultstream.local.processes import Running
from vaultstream.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """How the services are reached. Its representation shows neither URLs nor passwords.

    A pid is None where the service is not embedded; the password is empty where there is none.
    """

    database_url: str = field(repr=False)
    nats_url: str = field(repr=False)
    nats_user: str
    nats_password: str = field(repr=False)
    kek_file: Path
    data_dir: Path
    postgres_pid: int | None
    nats_pid: int | None
    _local: LocalServices | None = field(default=None, repr=False, compare=False)
    _bus: BusAddress | None = field(default=None, repr=False, compare=False)

    @property
    def bus_address(self) -> BusAddress:
        """Where NATS is, as `connect_bus` takes it."""
        return self._bus or BusAddress(self.nats_url, self.nats_user, self.nats_password)

    async def ensure_running(self) -> Services:
        """Starts again what died of the embedded services; returns how they are reached now.

        The URLs stay the same, but for a NATS port that another program took meanwhile; the pids change. Meant to be
        called every second or so: while all is well it costs a few milliseconds.

        Raises:
            LocalServiceError: a service does not start, with its last words and what to do.
        """
        if self._local is None:
            return self
        return self._local.merge(await self._local.ensure_running(), self)


@dataclass(frozen=True)
class Inspection:
    """What runs in a data directory; None for a service that does not."""

    data_dir: Path
    postgres: Running | None
    nats: Running | None


class LocalServices:
    """One use of a data directory's services, from entering to leaving (`async with`).

    Args:
        data_dir: the directory; it is made if need be, and belongs to VaultStream alone.
        postgres: whether the embedded Postgres is wanted.
        nats: whether the embedded NATS is wanted.
        kek_file: the file of key-encryption keys, `<data_dir>/kek` if None; made if there is none.
    """

    def __init__(
        self, data_dir: Path, *, postgres: bool = True, nats: bool = True, kek_file: Path | None = None
    ) -> None:
        self.data_dir = _absolute(data_dir)
        self.kek_file = kek_file or self.data_dir / "kek"
        self._postgres = EmbeddedPostgres(self.data_dir) if postgres else None
        self._nats = EmbeddedNats(self.data_dir) if nats else None
        self._use: FileLock | None = None

    async def __aenter__(self) -> Self:
        with _disk_errors_explained(self.data_dir):
            _make_data_dir(self.data_dir)
            self._use = FileLock(self.data_dir / "users.lock")
            try:
                async with _turn(self.data_dir):
                    await self._use.acquire(exclusive=False)
                    if not self.kek_file.exists() and not used_before(self.data_dir):
                        _make_kek(self.kek_file)
                    await self._start()
            except BaseException:
                await self.__aexit__()
                raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._use is None:
            return
        with self._use as use:
            self._use = None
            async with _turn(self.data_dir):
                if use.try_acquire(exclusive=True):
                    await _stop_all(self.data_dir)

    async def ensure_running(self) -> tuple[Running | None, Running | None]:
        """Starts again what died; returns Postgres and NATS as they run now (None: not wanted).

        Raises:
            LocalServiceError: a service does not start, with its last words and what to do.
        """
        with _disk_errors_explained(self.data_dir):
            async with _turn(self.data_dir):
                if self._use is None:  # nobody would stop what is started now
                    raise LocalServiceError(f"The services in {self.data_dir} are not in use any more.")
                return await self._start()

    async def services(self) -> Services:
        """How the services are reached; what is not embedded is left empty (see `open_services`)."""
        blank = Services("", "", "", "", self.kek_file, self.data_dir, None, None, self)
        return self.merge(await self.ensure_running(), blank)

    def merge(self, running: tuple[Running | None, Running | None], services: Services) -> Services:
        """`services` with the embedded ones among them put in as they run."""
        postgres, nats = running
        if postgres:
            services = replace(services, database_url=postgres.url, postgres_pid=postgres.pid)
        if nats and self._nats:
            services = replace(
                services,
                nats_url=nats.url,
                nats_user=USER,
                nats_password=self._nats.password,
                nats_pid=nats.pid,
            )
        return services

    async def _start(self) -> tuple[Running | None, Running | None]:
        return await _both(_ensure(self._postgres), _ensure(self._nats))


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """The services that the settings name by URL, and embedded ones in place of those they don't.

    A file of key-encryption keys is made, if there is none, only where a service is embedded: with both URLs given
    the keys are someone's to provide.

    Raises:
        LocalServiceError: an embedded service does not start, with its last words and what to do.
        CustodyError: the key-encryption key can't be made.
    """
    data_dir = _absolute(settings.data_dir)
    given = Services(
        database_url=settings.database_url.get_secret_value() if settings.database_url else "",
        nats_url=settings.nats_url or "",
        nats_user=settings.nats_user,
        nats_password=settings.nats_password.get_secret_value() if settings.nats_password else "",
        kek_file=settings.kek_file or data_dir / "kek",
        data_dir=data_dir,
        postgres_pid=None,
        nats_pid=None,
        _bus=bus_address(settings, settings.nats_url) if settings.nats_url else None,
    )
    async with AsyncExitStack() as stack:
        if settings.embedded:
            local = await stack.enter_async_context(
                LocalServices(
                    data_dir,
                    postgres=settings.database_url is None,
                    nats=settings.nats_url is None,
                    kek_file=given.kek_file,
                )
            )
            given = local.merge(await local.ensure_running(), replace(given, _local=local))
        yield given


def used_before(data_dir: Path) -> bool:
    """Whether services ran there: then keys may be wrapped, and a file that is missing must come back, not anew."""
    return any((_absolute(data_dir) / name).exists() for name in ("postgres", "nats"))


def inspect_services(data_dir: Path) -> Inspection:
    """Tells what runs in a data directory, without starting, waiting for or making anything."""
    data_dir = _absolute(data_dir)
    return Inspection(data_dir, EmbeddedPostgres(data_dir).find(), EmbeddedNats(data_dir).find())


async def stop_services(data_dir: Path, *, force: bool = False) -> bool:
    """Stops what runs in a data directory, as after a command that was killed; returns whether anything ran.

    Args:
        data_dir: the directory.
        force: stop them although a command uses them (which then fails, or starts them again).

    Raises:
        UsageError: a command uses them.
        LocalServiceError: one does not stop.
    """
    data_dir = _absolute(data_dir)
    if not data_dir.is_dir():
        return False
    async with _turn(data_dir):
        with FileLock(data_dir / "users.lock") as use:
            if not use.try_acquire(exclusive=True) and not force:
                raise UsageError(
                    f"A vaultstream command uses the services in {data_dir}.",
                    hint="End it first (Ctrl-C drains); the last command to leave stops the services.",
                )
            return await _stop_all(data_dir)


@asynccontextmanager
async def _turn(data_dir: Path) -> AsyncIterator[None]:
    """One at a time starts or stops services."""
    with FileLock(data_dir / "start.lock") as lock:
        await lock.acquire(exclusive=True)
        yield


async def _ensure(service: EmbeddedPostgres | EmbeddedNats | None) -> Running | None:
    return await service.ensure() if service else None


async def _stop_all(data_dir: Path) -> bool:
    # Whatever runs there, wanted by this command or not: the last one leaves nothing behind.
    return any(await _both(EmbeddedPostgres(data_dir).stop(), EmbeddedNats(data_dir).stop()))


async def _both(postgres: Awaitable[T], nats: Awaitable[T]) -> tuple[T, T]:
    """Awaits both to their ends before an error of one is raised: nothing goes on when the turn is over."""
    first, second = await asyncio.gather(postgres, nats, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


def _absolute(data_dir: Path) -> Path:
    return data_dir.expanduser().resolve()


def _make_data_dir(data_dir: Path) -> None:
    """Makes the directory, private; as root, others may pass through, since Postgres then runs as another user."""
    make_private_dir(data_dir, mode=0o700 if os.geteuid() else 0o711)


def _make_kek(path: Path) -> None:
    """Makes the file of key-encryption keys; what the file system refuses is explained as it is for the services."""
    try:
        create_keyring(path)
    except CustodyError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


@contextmanager
def _disk_errors_explained(data_dir: Path) -> Iterator[None]:
    """Turns an error of the file system into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise explain(
            "services", str(error), data_dir=data_dir, free_bytes=free_bytes(data_dir), log_file=data_dir
        ) from error
