"""Finds transactions of our users that stay open: they keep locks, and what they commit late has an early time. And who waits for a table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.doctor.findings import Finding, failed, ok, warning
from vaultstream.store.lockers import Locker, hint_to_end, named
from vaultstream.store.roles import DatabaseRole
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.database import Connection

_CHECK = "open transactions"
_SHOWN = 3
"""Sessions that are named; of the rest, only the number is given."""
OPEN_SECONDS = 150.0
"""No transaction of ours that writes lasts longer: statements are canceled after two minutes."""


@dataclass(frozen=True)
class OpenTransaction(Locker):
    """A transaction that has changed or locked rows, and has been open for so many seconds."""

    seconds: float = 0.0


async def examine_transactions(connection: Connection) -> list[Finding]:
    """Checks that no member of our roles keeps a transaction open."""
    if not await connection.fetchval(query("may_see_transactions")):
        return [ok(_CHECK, "Not checked: this user may not see when the transactions of others began.")]
    found = await connection.fetch(query("list_open_transactions"), list(DatabaseRole), OPEN_SECONDS)
    return judge_transactions([OpenTransaction(**dict(row)) for row in found])


def judge_transactions(found: Sequence[OpenTransaction]) -> list[Finding]:
    """Returns a finding about the transactions that are open for longer than any of ours."""
    if not found:
        return [ok(_CHECK, "No user of ours keeps a transaction open.")]
    longest = max(each.seconds for each in found)
    return [
        warning(
            _CHECK,
            f"Transactions that have changed or locked rows are open for up to {longest:,.0f} s: {named(found)}. Revocations and "
            "deletions may fail because of them, and signatures in them become visible later than their time.",
            hint_to_end(found),
        )
    ]


async def examine_queues(connection: Connection) -> list[Finding]:
    """Checks that nobody who does not own a table of ours waits for a lock on it. Reads no such table: that would wait behind him.

    Returns a finding about those who do, or none.
    """
    found = [Locker(row["pid"], row["login"]) for row in await connection.fetch(query("list_queues"))]
    return judge_queues(found)


def judge_queues(found: Sequence[Locker]) -> list[Finding]:
    """Returns a finding about those who wait for a lock of a table that is not theirs, or none."""
    if not found:
        return []
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return [
        failed(
            "locks of tables",
            "Everybody who needs a table of the schema may have to wait behind those who want to lock it and do not own it: "
            f"{named(found[:_SHOWN])}{more}. Nothing else was checked in Postgres.",
            f"{hint_to_end(found[:_SHOWN])} No part of VaultStream waits for such a lock; charts/vaultstream/files/postgres/no-ddl.sql refuses it.",
        )
    ]
