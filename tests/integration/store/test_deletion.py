"""The order in which a job is deleted: JetStream first, and again if it was interrupted."""

from __future__ import annotations

import asyncpg
import pytest

from support.engine import add_job
from vaultstream.deletion import delete_with_messages
from vaultstream.errors import BusError
from vaultstream.store import jobs

pytestmark = pytest.mark.integration


class JetStream:
    """Messages of jobs, by token."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = set(tokens)

    async def remove(self, token: str, _: str | None) -> None:
        self.tokens.discard(token)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_job_stays_in_postgres_while_its_messages_can_not_be_removed(
    db: asyncpg.Connection, policy: str
) -> None:
    job = await add_job(db)

    async def unreachable(*_: object) -> None:
        raise BusError("disconnected.")

    with pytest.raises(BusError):
        await delete_with_messages(db, job, policy, remove=unreachable)

    assert await jobs.find_job(db, job.name) == job


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_deletion_that_was_interrupted_in_between_is_found_and_repeated(
    db: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    job = await add_job(db)
    jetstream = JetStream(job.token)

    async def interrupted(*_: object) -> None:
        raise asyncpg.ConnectionDoesNotExistError

    with monkeypatch.context() as first:
        first.setattr(jobs, "delete_job", interrupted)
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await delete_with_messages(db, job, policy, remove=jetstream.remove)
    assert jetstream.tokens == set()
    assert await jobs.find_job(db, job.name) == job

    jetstream.tokens.add(job.token)  # a worker published again
    await delete_with_messages(db, job, policy, remove=jetstream.remove)

    assert jetstream.tokens == set()
    assert await jobs.find_job(db, job.name) is None
