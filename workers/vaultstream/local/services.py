"""The services of a data directory, shared by every command that uses it: the first starts them, the last stops them.

Each user holds a shared lock on `users.lock`, which the kernel releases when the process ends, however it ends.
`start.lock` serializes starting, restarting, leaving and stopping. A command that was killed leaves its services running;
the next one adopts them, and stops them if it is the last to leave.

The directory contains:

    kek             key-encryption keys            0600
    seal-key        signs checkpoints of logs      0600
    seals/          copies of seals                0700
    nats/           store, configuration, password 0700
    postgres/       cluster and socket             0700, of the user that Postgres runs as
    postgres.log, nats.log                         0600
    users.lock, start.lock                         0600
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self, TypeVar

from vaultstream.bus.address import BusAddress, bus_address
from vaultstream.crypto.keyring import create_keyring
from vaultstream.crypto.seal_keys import create_seal_keys
from vaultstream.errors import CustodyError, LocalServiceError, NoDatabaseError, UsageError
from vaultstream.local.diagnosis import explain_failure, free_bytes
from vaultstream.local.files import (
    USERS_LOCK,
    FileLock,
    claim_data_dir,
    is_data_dir,
    no_permission,
    whole_data_dir,
)
from vaultstream.local.nats import USER, EmbeddedNats
from vaultstream.local.postgres import EmbeddedPostgres
from vaultstream.local.processes import Running
from vaultstream.local.programs import require_nats_program
from vaultstream.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True)
class Services:
    """How to reach the services. Its representation shows neither URLs nor passwords.

    A pid is None if the service is not embedded; the password is empty if there is none.
    """

    database_url: str = field(repr=False)
    nats_url: str = field(repr=False)
    nats_user: str
    nats_password: str = field(repr=False)
    kek_file: Path
    data_dir: Path
    postgres_pid: int | None
    nats_pid: int | None
    taken: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that the settings took from a file, for processes that get all from their environment."""
    source_url: str | None = field(default=None, repr=False)
    """The database of `database_url` under the login by which records are read; None: that of `database_url`."""
    _local: LocalServices | None = field(default=None, repr=False, compare=False)
    _bus: BusAddress | None = field(default=None, repr=False, compare=False)

    @property
    def bus_address(self) -> BusAddress:
        """The address of NATS, for `connect_bus`."""
        return self._bus or BusAddress(self.nats_url, self.nats_user, self.nats_password)

    async def ensure_running(self) -> Services:
        """Restarts embedded services that died; returns how to reach them now.

        The URLs stay the same, except if another program has taken the port of NATS; the pids change. Call it every
        second or so: while the services run, it costs a few milliseconds.

        Raises:
            LocalServiceError: a service does not start; the message has the end of its log, the hint what to do.
        """
        if self._local is None:
            return self
        return self._local.merge(await self._local.ensure_running(), self)


@dataclass(frozen=True)
class Inspection:
    """The services that run in a data directory; None for one that does not."""

    data_dir: Path
    postgres: Running | None
    nats: Running | None


class LocalServices:
    """One use of a data directory's services, with `async with`.

    Args:
        data_dir: the directory, for VaultStream alone; created if it does not exist. One with other things in it is refused.
        postgres: whether to run the embedded Postgres.
        nats: whether to run the embedded NATS.
        kek_file: the file of key-encryption keys, `<data_dir>/kek` if None; created if it does not exist.
        seal_key_file: the file of the seal key, `seal-key` beside `kek_file` if None; created with that one.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        postgres: bool = True,
        nats: bool = True,
        kek_file: Path | None = None,
        seal_key_file: Path | None = None,
    ) -> None:
        self.data_dir = whole_data_dir(data_dir)
        self.kek_file = kek_file or self.data_dir / "kek"
        self.seal_key_file = seal_key_file or self.kek_file.with_name("seal-key")
        self._postgres = EmbeddedPostgres(self.data_dir) if postgres else None
        self._nats = EmbeddedNats(self.data_dir) if nats else None
        if nats:
            require_nats_program()
        self._use: FileLock | None = None

    async def __aenter__(self) -> Self:
        with _disk_errors_explained(self.data_dir):
            _make_data_dir(self.data_dir)
            self._use = FileLock(self.data_dir / USERS_LOCK)
            try:
                async with _turn(self.data_dir):
                    await self._use.acquire(exclusive=False)
                    if not self.kek_file.exists() and not used_before(self.data_dir):
                        _make_missing(self.seal_key_file, create_seal_keys)
                        _make_missing(self.kek_file, create_keyring)  # last: without it, both are made
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
        """Restarts services that died; returns Postgres and NATS as they run now (None: not used).

        Raises:
            LocalServiceError: a service does not start; the message has the end of its log, the hint what to do.
        """
        with _disk_errors_explained(self.data_dir):
            async with _turn(self.data_dir):
                if self._use is None:  # nobody would stop a service started now
                    raise LocalServiceError(f"The services in {self.data_dir} are no longer in use.")
                return await self._start()

    async def services(self) -> Services:
        """Returns how to reach the services; fields of services that are not embedded are empty (see `open_services`)."""
        blank = Services("", "", "", "", self.kek_file, self.data_dir, None, None, _local=self)
        return self.merge(await self.ensure_running(), blank)

    def merge(self, running: tuple[Running | None, Running | None], services: Services) -> Services:
        """Returns `services` with the addresses of the embedded ones filled in."""
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
async def open_services(
    settings: Settings, *, reads: bool = False, existing: bool = False, nats: bool = True
) -> AsyncIterator[Services]:
    """Yields the services that the settings name by URL, and embedded ones for those that they don't.

    A missing file of key-encryption keys, and with it one of the seal key, is created only for the embedded Postgres. For one of
    their own, users provide the keys.

    Args:
        settings: the URLs of the services, and the folder of embedded ones.
        reads: whether nothing is created: neither a folder nor a database nor keys. NATS may be missing.
        existing: whether the database must be there already, because only one that was used has what is changed.
        nats: whether NATS is needed. If not, none is started; its URL may be empty then.

    Raises:
        UsageError: only one of two services is configured, there is nothing to read in the folder, or the embedded services are
            not installed.
        LocalServiceError: an embedded service does not start; the message has the end of its log, the hint what to do.
        CustodyError: the key-encryption key or the seal key can't be created.
    """
    data_dir = whole_data_dir(settings.data_dir)
    source = settings.source_database_url if settings.database_url else None
    given = Services(
        database_url=settings.database_url.get_secret_value() if settings.database_url else "",
        nats_url=settings.nats_url or "",
        nats_user=settings.nats_user,
        nats_password=settings.nats_password.get_secret_value() if settings.nats_password else "",
        kek_file=settings.kek_file or data_dir / "kek",
        data_dir=data_dir,
        postgres_pid=None,
        nats_pid=None,
        taken=settings.taken,
        source_url=source.get_secret_value() if source else None,
        _bus=bus_address(settings, settings.nats_url) if settings.nats_url else None,
    )
    own_postgres, own_nats = settings.database_url is None, nats and settings.nats_url is None
    if own_postgres and (reads or existing):
        require_place(data_dir)
    if reads:
        own_nats = own_nats and (data_dir / "nats").is_dir()
    elif nats:
        _require_both(settings)
    makes_keys = own_postgres and not reads and not existing
    async with AsyncExitStack() as stack:
        if own_postgres or own_nats:
            local = await stack.enter_async_context(
                LocalServices(
                    data_dir,
                    postgres=own_postgres,
                    nats=own_nats,
                    # It exists, so none is created.
                    kek_file=given.kek_file if makes_keys else Path(os.devnull),
                    seal_key_file=settings.seal_key_file if makes_keys else Path(os.devnull),
                )
            )
            given = local.merge(await local.ensure_running(), replace(given, _local=local))
        yield given


def require_place(data_dir: Path) -> None:
    """Checks that an embedded database was created in a folder.

    Raises:
        NoDatabaseError: there is none.
        LocalServiceError: it belongs to another user.
    """
    data_dir = whole_data_dir(data_dir)
    with _disk_errors_explained(data_dir):
        found = (data_dir / "postgres" / "data").is_dir()
    if not found:
        raise NoDatabaseError(
            f"There is no VaultStream database in {data_dir}.",
            hint="Name another place with --data-dir, or set DATABASE_URL. `vaultstream import`, `run`, `submit`, `quick-start` and `debug psql` create one.",
        )


def _require_both(settings: Settings) -> None:
    """Checks that settings don't name one service and leave the other to chance.

    Raises:
        UsageError: they do; a folder that is named says where the other one is.
    """
    if "data_dir" in settings.model_fields_set or (settings.database_url is None) == (
        settings.nats_url is None
    ):
        return
    present, missing = "DATABASE_URL", "VAULTSTREAM_NATS_URL"
    if settings.database_url is None:
        present, missing = missing, present
    raise UsageError(
        f"{present} is set, and {missing} is not.",
        field=missing,
        hint=f"Set {missing} too; or unset {present} to use embedded services; or name the folder of the embedded one with --data-dir.",
    )


def used_before(data_dir: Path) -> bool:
    """Returns whether services ran there: keys may be wrapped then, and a missing file must be restored, not created."""
    return any((whole_data_dir(data_dir) / name).exists() for name in ("postgres", "nats"))


def inspect_services(data_dir: Path) -> Inspection:
    """Returns what runs in a data directory; starts, awaits and creates nothing."""
    data_dir = whole_data_dir(data_dir)
    with _disk_errors_explained(data_dir):
        return Inspection(data_dir, EmbeddedPostgres(data_dir).find(), EmbeddedNats(data_dir).find())


async def stop_services(data_dir: Path, *, force: bool = False) -> bool:
    """Stops the services of a data directory, as after a command that was killed; returns whether any ran.

    Args:
        data_dir: the directory.
        force: stop them even if a command uses them, which then fails or starts them again.

    Raises:
        UsageError: a command uses them.
        LocalServiceError: a service does not stop.
    """
    data_dir = whole_data_dir(data_dir)
    with _disk_errors_explained(data_dir):
        if not is_data_dir(data_dir):
            return False
        async with _turn(data_dir):
            return await _stop_unused(data_dir, force=force)


async def _stop_unused(data_dir: Path, *, force: bool) -> bool:
    with FileLock(data_dir / USERS_LOCK) as use:
        if not use.try_acquire(exclusive=True) and not force:
            raise UsageError(
                f"A vaultstream command uses the services in {data_dir}.",
                hint="Stop it first (Ctrl-C drains); the last command to leave stops the services.",
            )
        return await _stop_all(data_dir)


@asynccontextmanager
async def _turn(data_dir: Path) -> AsyncIterator[None]:
    """Serializes starting and stopping of services."""
    with FileLock(data_dir / "start.lock") as lock:
        await lock.acquire(exclusive=True)
        yield


async def _ensure(service: EmbeddedPostgres | EmbeddedNats | None) -> Running | None:
    return await service.ensure() if service else None


async def _stop_all(data_dir: Path) -> bool:
    # Services that this command does not use, too: the last one to leave stops them all.
    return any(await _both(EmbeddedPostgres(data_dir).stop(), EmbeddedNats(data_dir).stop()))


async def _both(postgres: Awaitable[T], nats: Awaitable[T]) -> tuple[T, T]:
    """Awaits both before it raises an error of one: nothing runs on after the turn."""
    first, second = await asyncio.gather(postgres, nats, return_exceptions=True)
    if isinstance(first, BaseException):
        raise first
    if isinstance(second, BaseException):
        raise second
    return first, second


def _make_data_dir(data_dir: Path) -> None:
    """Creates the directory, private. As root, others may pass through, because Postgres runs as another user."""
    claim_data_dir(data_dir, mode=0o700 if os.geteuid() else 0o711)


def _make_missing(path: Path, create: Callable[[Path], object]) -> None:
    """Creates a file of keys unless it exists; raises errors of the file system as such, to be explained."""
    if path.exists():
        return
    try:
        create(path)
    except CustodyError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


@contextmanager
def permission_explained(data_dir: Path) -> Iterator[None]:
    """Turns a missing permission into an error that names it; other errors, such as those of an output, pass."""
    try:
        yield
    except PermissionError as error:
        raise no_permission(data_dir, error) from None


@contextmanager
def _disk_errors_explained(data_dir: Path) -> Iterator[None]:
    """Turns an error of the file system into one with a hint."""
    try:
        with permission_explained(data_dir):
            yield
    except OSError as error:
        raise explain_failure(
            "services", str(error), data_dir=data_dir, free_bytes=free_bytes(data_dir), log_file=None
        ) from error
