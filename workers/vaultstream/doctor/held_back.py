"""Finds what was left in Postgres and costs its disk: snapshots and prepared transactions, which hold back VACUUM, and slots that keep WAL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vaultstream.doctor.findings import Finding, ok, warning
from vaultstream.store.lockers import Locker
from vaultstream.store.sql import query
from vaultstream.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.database import Connection

_CHECK = "held back"
_SHOWN = 3
"""Of each kind; of the rest, only the number is given."""
OLD_SECONDS: Final = 3_600.0
"""A snapshot may be as old as this: `verify` and `pg_dump` have one for as long as they run."""
OLD_TRANSACTIONS: Final = 5_000_000
"""How many transactions old a snapshot may be, if this login may not see its time."""
PREPARED_SECONDS: Final = 600.0
"""A prepared transaction is committed or rolled back in seconds."""
KEPT_WAL_BYTES: Final = 1 << 30
"""A slot that nobody reads may keep so much, as while a standby restarts."""
_GIB: Final = 1 << 30


@dataclass(frozen=True)
class OldSnapshot(Locker):
    """A session whose snapshot is old, so that VACUUM removes no row that was deleted or changed since."""

    application: str = ""
    seconds: float | None = None
    """Age of its transaction; None: this login may not see it."""
    transactions: int = 0
    """How many transactions have begun since."""

    def __str__(self) -> str:
        age = f"{self.transactions:,} transactions" if self.seconds is None else f"{self.seconds:,.0f} s"
        called = f" ({visible(self.application)})" if self.application else ""
        return f"{super().__str__()}{called}, for {age}"


@dataclass(frozen=True)
class LeftPrepared(Locker):
    """A prepared transaction that nobody has ended for so many seconds."""

    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{super().__str__()}, for {self.seconds:,.0f} s"


@dataclass(frozen=True)
class IdleSlot:
    """A replication slot that nobody reads, and how many bytes of WAL it keeps."""

    name: str
    kept: int

    def __str__(self) -> str:
        return f"{visible(self.name)} ({self.kept / _GIB:,.1f} GiB)"


async def examine_held_back(
    connection: Connection,
    *,
    seconds: float = OLD_SECONDS,
    transactions: int = OLD_TRANSACTIONS,
    left: float = PREPARED_SECONDS,
    wal: int = KEPT_WAL_BYTES,
) -> list[Finding]:
    """Checks what makes tables and the WAL grow. The bounds are those from which on something is reported."""
    snapshots = await connection.fetch(query("list_old_snapshots"), seconds, transactions)
    prepared = await connection.fetch(query("list_left_prepared"), left)
    slots = await connection.fetch(query("list_idle_slots"), wal)
    return judge_held_back(
        [OldSnapshot(**dict(row)) for row in snapshots],
        [LeftPrepared(**dict(row)) for row in prepared],
        [IdleSlot(**dict(row)) for row in slots],
    )


def judge_held_back(
    snapshots: Sequence[OldSnapshot], prepared: Sequence[LeftPrepared], slots: Sequence[IdleSlot]
) -> list[Finding]:
    """Returns the findings; one that all is well if there are none."""
    found = []
    if snapshots:
        found.append(
            warning(
                "old snapshots",
                f"Open for a long time: {_shown(snapshots)}. Until they end, VACUUM can't remove what was deleted or changed since: tables and "
                "indexes of the jobs grow, and claims become slower.",
                f"Let their transactions end. An administrator of Postgres ends them by {_ends(snapshots)}; "
                "idle_in_transaction_session_timeout does so by itself.",
            )
        )
    if prepared:
        found.append(
            warning(
                "prepared transactions",
                f"Nobody has ended: {_shown(prepared)}. They keep their locks and hold back VACUUM, also over a restart of Postgres.",
                "Whoever runs the transaction manager knows whether to commit them. If nobody does, their owner or an administrator of "
                f"Postgres, connected to this database, runs {_ends(prepared)}.",
            )
        )
    if slots:
        found.append(
            warning(
                "replication slots",
                f"Nobody reads from: {_shown(slots)}. Postgres keeps that much WAL for them, and more with each batch, until its disk is full.",
                "Start the standby or the subscriber again. If it is gone for good, an administrator of Postgres runs "
                "pg_drop_replication_slot(NAME); max_slot_wal_keep_size bounds what slots keep.",
            )
        )
    return found or [
        ok(
            _CHECK,
            "No old snapshot, prepared transaction or unread replication slot makes Postgres keep what it could remove.",
        )
    ]


def _shown(found: Sequence[object]) -> str:
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return "; ".join(map(str, found[:_SHOWN])) + more


def _ends(found: Sequence[Locker]) -> str:
    return "; ".join(each.end for each in found[:_SHOWN])
