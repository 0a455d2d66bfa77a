from __future__ import annotations

import asyncio

import asyncpg
import pytest
from nats.js.errors import NotFoundError

from support.engine import add_job, open_bus, open_context, worker_settings
from support.waiting import eventually
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.subjects import KEYS_STREAM, key_subject
from vaultstream.crypto.algorithms import private_key_from_bytes, public_key_to_bytes
from vaultstream.crypto.envelope import WrappedKey, rewrap, unwrap
from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import CustodyError
from vaultstream.keys.worker import KeyPublisher, make_missing_keys, run_keys_worker
from vaultstream.local.services import LocalServices, Services
from vaultstream.store import keys as store
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import Job, fail_job
from vaultstream.worker import WorkerContext

pytestmark = pytest.mark.integration


async def make_keys(services: Services, url: str, job: Job) -> int:
    async with open_pool(url, role="test", size=2) as pool:
        return await make_missing_keys(pool, job, load_keyring(services.kek_file))


async def on_stream(context: WorkerContext, db: asyncpg.Connection) -> dict[str, tuple[str, int]]:
    """Returns what the last message of each of a job's keys says: its state and version."""
    found = {}
    for key in await store.list_wrapped(db, context.job):
        try:
            message = await context.bus.jetstream.get_last_msg(KEYS_STREAM, key_subject(key.job, key.key_id))
        except NotFoundError:
            continue
        told = WrappedKey.from_message(message.data or b"")
        found[told.key_id] = (told.state, told.version)
    return found


async def test_exactly_the_wanted_keys_are_made_however_often_and_by_however_many(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=0)
    await asyncio.gather(*(make_keys(services, engine_url, job) for _ in range(3)))
    assert await make_keys(services, engine_url, job) == 0
    keys = await store.list_keys(db, job.job_no)
    assert [key.ordinal for key in keys] == [1, 2, 3]
    assert len({key.public_key for key in keys}) == 3
    wrapped = {key.key_id: key for key in await store.list_wrapped(db, job)}
    ring = load_keyring(services.kek_file)
    for key in keys:
        private = private_key_from_bytes(unwrap(ring, wrapped[key.key_id]))
        assert public_key_to_bytes(private) == key.public_key


async def test_a_key_that_is_missing_in_the_middle_is_made_and_no_ended_one_is_replaced(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=0)
    await make_keys(services, engine_url, job)
    first, second, _ = await store.list_keys(db, job.job_no)
    await store.end_keys(db, job.job_no, [first.key_id], state="revoked")
    await db.execute("DELETE FROM vaultstream.keys WHERE key_no = $1", second.key_no)
    assert await make_keys(services, engine_url, job) == 1
    keys = await store.list_keys(db, job.job_no)
    assert [(key.ordinal, key.state) for key in keys] == [(1, "revoked"), (2, "active"), (3, "active")]


async def test_the_stream_says_what_postgres_says(
    own_nats: LocalServices, engine_url: str, db: asyncpg.Connection
) -> None:
    """New keys, a loss of one message or of the stream, a change of state, a new wrapping."""
    services = await own_nats.services()
    job = await add_job(db, keys=0)
    await make_keys(services, engine_url, job)
    first, second, third = [key.key_id for key in await store.list_keys(db, job.job_no)]
    async with open_context(services, engine_url, job) as context:
        publisher = KeyPublisher(context)

        async def published() -> int:
            count = await publisher.publish_changes()
            assert await publisher.publish_changes() == 0
            assert await on_stream(context, db) == await store.list_states(db, job.job_no)
            return count

        assert await published() == 3
        await context.bus.jetstream.purge_stream(KEYS_STREAM, subject=key_subject(job.token, second))
        assert await published() > 0
        await context.bus.jetstream.delete_stream(KEYS_STREAM)
        assert await published() == 3
        await store.end_keys(db, job.job_no, [first], state="revoked")
        await store.end_keys(db, job.job_no, [second], state="retired")
        assert await published() == 2
        wrapped = await store.get_wrapped(db, job, third)
        assert wrapped
        again = rewrap(load_keyring(services.kek_file), wrapped)
        assert await store.replace_wrapped(db, [again]) == 1
        assert await store.replace_wrapped(db, [again]) == 0
        assert await published() == 1
        assert await KeyPublisher(context).publish_changes() == 3


async def test_keys_leave_the_stream_when_their_job_ends(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=0)
    running = asyncio.create_task(run_keys_worker(worker_settings(services, engine_url), job.token))
    async with open_bus(services) as bus:
        stream = KeysStream(bus)
        await stream.ensure()

        async def all_there() -> bool:
            return await stream.count(job.token) == 3

        await eventually(all_there)
        await fail_job(db, job.job_no, "enough")
        await asyncio.wait_for(running, 10)
        assert await stream.count(job.token) == 0
    assert len(await store.list_wrapped(db, job)) == 3


async def test_a_worker_without_a_key_encryption_key_creates_no_key(
    services: Services, engine_url: str, db: asyncpg.Connection
) -> None:
    job = await add_job(db, keys=0)
    settings = worker_settings(services, engine_url, kek_file=services.data_dir / "not-there")
    with pytest.raises(CustodyError):
        await run_keys_worker(settings, job.token)
    assert await store.list_keys(db, job.job_no) == []
