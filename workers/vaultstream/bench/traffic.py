"""What the parts of a job say to NATS and to Postgres while it is measured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vaultstream.bus.connection import Bus
from vaultstream.bus.inspection import messages_by_connection
from vaultstream.store.database import Pool
from vaultstream.store.jobs import Job
from vaultstream.store.sql import query

_COUNTED = ("records", "signing")
"""The roles whose messages are counted."""


@dataclass(frozen=True)
class Traffic:
    """What was said from the start of the clock to the end of the job.

    Attributes:
        messages: sent and received over NATS by the records worker and the signers; None: not told.
        transactions: committed in the database, whoever asked for them: the workers, and the command that looks how the job
            stands, some twelve times a second. Postgres counts those of a session that rests ten seconds late, so that
            what the workers' sessions did as they started is among them: some eighty, which says much of one batch and
            little of a thousand.
    """

    batches: int
    messages: int | None
    transactions: int

    def per_batch(self, count: int | None) -> float | None:
        """Returns a count for one batch, on average."""
        return None if count is None else count / max(1, self.batches)


@dataclass(frozen=True)
class Start:
    """What was counted when the clock started."""

    messages: int | None
    transactions: int


async def count_at_start(bus: Bus, pool: Pool, job: Job) -> Start:
    """Counts what start-up took, which is not the job's."""
    await asyncio.gather(*(_tell_transactions(pool) for _ in range(pool.get_size())))
    counted = await messages_by_connection(bus)
    names = [f"vaultstream-{role}-{job.token}" for role in _COUNTED]
    messages = None if counted is None else sum(counted[name] for name in names)
    return Start(messages, await _transactions(pool))


async def count_since(start: Start, pool: Pool, logs: Path, *, batches: int) -> Traffic:
    """Counts what was said since.

    Args:
        start: what was counted then.
        pool: of connections to Postgres.
        logs: of the job's workers, all of which have left.
        batches: of the job.
    """
    in_all = messages_in(logs)
    return Traffic(
        batches=batches,
        messages=None if in_all is None or start.messages is None else in_all - start.messages,
        transactions=await _transactions(pool) - start.transactions,
    )


async def _tell_transactions(pool: Pool) -> None:
    """Has a session of ours tell at once what it committed; it would wait for up to a second, or ten when it rests."""
    async with pool.acquire() as connection:
        await connection.execute(query("flush_statistics"))


async def _transactions(pool: Pool) -> int:
    """Transactions committed in this database, of those that its sessions have told of."""
    async with pool.acquire() as connection:
        return int(await connection.fetchval(query("count_transactions")))


def messages_in(logs: Path) -> int | None:
    """Returns how many messages the workers of a job sent and received over NATS, as their logs say; None: they don't."""
    counts = [line["nats_messages"] for line in _lines(sorted(logs.glob("*.log"))) if "nats_messages" in line]
    return sum(counts) if counts else None


def _lines(files: Iterable[Path]) -> Iterator[dict[str, int]]:
    for file in files:
        for line in file.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry
