"""Counts the messages and transactions of a job while it is measured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaultstream.bus.connection import Bus
from vaultstream.bus.inspection import messages_by_connection
from vaultstream.role import WorkerRole
from vaultstream.store.database import Pool
from vaultstream.store.jobs import Job
from vaultstream.store.sql import query

_COUNTED = (WorkerRole.RECORDS, WorkerRole.SIGNING)
"""The roles whose messages are counted."""


@dataclass(frozen=True)
class Traffic:
    """Messages and transactions from the start of the clock to the end of the job.

    Attributes:
        messages: sent and received over NATS by the records worker and the signers; None: unknown.
        transactions: committed in the database by the workers, and by the command, which polls the job's state about
            twelve times per second. Postgres counts the transactions of an idle session up to ten seconds late, so
            about eighty from the start of the workers are included: many for one batch, few for a thousand.
    """

    batches: int
    messages: int | None
    transactions: int

    def per_batch(self, count: int | None) -> float | None:
        """Returns a count per batch, on average."""
        return None if count is None else count / max(1, self.batches)


@dataclass(frozen=True)
class Start:
    """The counts when the clock started."""

    messages: int | None
    transactions: int


async def count_at_start(bus: Bus, pool: Pool, job: Job) -> Start:
    """Returns the counts so far: what start-up took, which is not part of the job."""
    await asyncio.gather(*(_flush_statistics(pool) for _ in range(pool.get_size())))
    counted = await messages_by_connection(bus)
    names = [f"vaultstream-{role}-{job.token}" for role in _COUNTED]
    messages = None if counted is None else sum(counted[name] for name in names)
    return Start(messages, await _transactions(pool))


async def count_since(start: Start, pool: Pool, logs: Path, *, batches: int) -> Traffic:
    """Returns the messages and transactions since the start.

    Args:
        start: the counts at the start.
        pool: connections to Postgres.
        logs: the folder of the logs of the job's workers, all of which have exited.
        batches: the job's number of batches.
    """
    in_all = messages_in(logs)
    return Traffic(
        batches=batches,
        messages=None if in_all is None or start.messages is None else in_all - start.messages,
        transactions=await _transactions(pool) - start.transactions,
    )


async def _flush_statistics(pool: Pool) -> None:
    """Makes a session of ours report its commits now; otherwise it takes up to a second, or ten if it is idle."""
    async with pool.acquire() as connection:
        await connection.execute(query("flush_statistics"))


async def _transactions(pool: Pool) -> int:
    """Returns the transactions committed in this database, as far as its sessions have reported them."""
    async with pool.acquire() as connection:
        return int(await connection.fetchval(query("count_transactions")))


def messages_in(logs: Path) -> int | None:
    """Returns how many messages a job's workers sent and received over NATS, from their logs; None: not logged."""
    counts = [line["nats_messages"] for line in _lines(sorted(logs.glob("*.log"))) if "nats_messages" in line]
    return sum(counts) if counts else None


def paths_in(logs: Path) -> str:
    """Returns what signed in a job's signers, from their logs; several are separated by commas."""
    named = {line["signing_path"] for line in _lines(sorted(logs.glob("*.log"))) if "signing_path" in line}
    return ", ".join(sorted(named))


def _lines(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for file in files:
        for line in file.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry
