"""Finds transactions of our users that stay open: they keep locks, and what they commit late has an early time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaultstream.doctor.findings import Finding, ok, warning
from vaultstream.store.lockers import Locker, hint_to_end, named
from vaultstream.store.roles import DatabaseRole
from vaultstream.store.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.store.database import Connection

_CHECK = "open transactions"
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
