"""Checks Postgres: version, writability, durability, free connections, and our schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.doctor.findings import Finding, failed, ok, warning
from vaultstream.doctor.transactions import examine_queues
from vaultstream.errors import SchemaVersionError, redact
from vaultstream.plurals import counted
from vaultstream.store import schema
from vaultstream.store.database import fetch_one
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from vaultstream.store.database import Connection

OLDEST_VERSION = 14
FEW_CONNECTIONS = 20
"""With fewer free connections than this, a pool of signers may not fit: each opens four."""


@dataclass(frozen=True)
class ServerHealth:
    """The settings and state of a Postgres server; see the query `server_health`."""

    version_num: int
    version: str
    in_recovery: bool
    read_only: bool
    fsync: bool
    full_page_writes: bool
    synchronous_commit: str
    connections_left: int


async def examine_database(connection: Connection, url: str, *, embedded: bool) -> tuple[list[Finding], bool]:
    """Checks the server and the schema; also returns whether this program works with the schema, and can read its tables."""
    health = ServerHealth(**dict(await fetch_one(connection, query("server_health"))))
    if queues := await examine_queues(connection):
        return [*judge_server(health, url), *queues], False
    current = schema.current_version()
    try:
        installed = await schema.find_schema(connection)
    except SchemaVersionError as error:
        return [*judge_server(health, url), failed("schema", error.message, error.hint or "")], False
    newer = installed.version > current >= installed.works_from
    findings = [
        *judge_server(health, url),
        judge_schema(installed.version, current, embedded=embedded, works=newer),
    ]
    return findings, newer or installed.version == current


def judge_server(health: ServerHealth, url: str) -> list[Finding]:
    """Returns the findings about a server that answers."""
    return [_version(health, url), _writer(health), _durability(health), _connections(health)]


def _version(health: ServerHealth, url: str) -> Finding:
    if health.version_num < OLDEST_VERSION * 10_000:
        return failed(
            "Postgres",
            f"It is version {health.version}; VaultStream needs {OLDEST_VERSION} or newer.",
            "Upgrade the server, or use the embedded one.",
        )
    return ok("Postgres", f"Version {health.version} answers at {redact(url)}.")


def _writer(health: ServerHealth) -> Finding:
    if health.in_recovery:
        return failed(
            "Postgres writer",
            "DATABASE_URL leads to a standby, which is read-only.",
            "Point it to the primary; with several hosts in the URL, add target_session_attrs=read-write.",
        )
    if health.read_only:
        return failed(
            "Postgres writer",
            "default_transaction_read_only is on, so nothing can be written.",
            "Providers turn it on when a disk is full: free some space. Else reset it where it is set: for the server, the "
            "database or the user (`ALTER DATABASE … RESET default_transaction_read_only`).",
        )
    return ok("Postgres writer", "It accepts writes.")


def _durability(health: ServerHealth) -> Finding:
    off = [
        name
        for name, lost in (
            ("fsync", not health.fsync),
            ("full_page_writes", not health.full_page_writes),
        )
        if lost
    ]
    if off:
        return failed(
            "Postgres durability",
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a crash can lose signatures that were committed "
            "and acknowledged.",
            f"Turn {'it' if len(off) == 1 else 'them'} on in postgresql.conf.",
        )
    if health.synchronous_commit == "off":
        return warning(
            "Postgres durability",
            "synchronous_commit is off for the server, this database or this login. VaultStream turns it on in its own sessions, so no "
            "signature that was acknowledged is lost; what others commit, such as records, can be lost in a crash.",
            "Turn it on in postgresql.conf, or reset it where it is set: `ALTER DATABASE … RESET synchronous_commit`, "
            "`ALTER ROLE … RESET synchronous_commit`.",
        )
    return ok("Postgres durability", f"fsync is on, synchronous_commit is {health.synchronous_commit}.")


def _connections(health: ServerHealth) -> Finding:
    left = max(0, health.connections_left)
    text = f"{counted(left, 'connection')} {'is' if left == 1 else 'are'} left."
    if left < FEW_CONNECTIONS:
        return warning(
            "Postgres connections",
            text,
            "Raise max_connections: a signer uses four connections, other workers at most four.",
        )
    return ok("Postgres connections", text)


def judge_schema(installed: int, current: int, *, embedded: bool, works: bool = False) -> Finding:
    """Compares schema versions; 0 means no schema. `works`: the newer schema supports this program."""
    if works:
        return ok("schema", f"It is version {installed}, of a newer VaultStream; this program works with it.")
    if installed > current:
        return failed(
            "schema",
            f"It is version {installed}, from a newer VaultStream; this program works with versions up to {current}.",
            "Upgrade this installation of vaultstream.",
        )
    if installed == current:
        return ok("schema", f"It is version {current}, the one that this program works with.")
    what = f"It is version {installed}" if installed else "It does not exist yet"
    if embedded:
        return ok("schema", f"{what}; the next command migrates it to version {current}.")
    return failed(
        "schema", f"{what}; this program works with version {current}.", "Run `vaultstream migrate`."
    )
