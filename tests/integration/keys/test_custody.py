"""A message on `keys.>` can cost a read of Postgres and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from support.engine import add_job, open_context, waits_for_a_lock
from support.waiting import eventually
from vaultstream.api import Algorithm
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.subjects import KEYS_STREAM, key_subject
from vaultstream.crypto.algorithms import generate_private_key, public_key_to_bytes
from vaultstream.crypto.envelope import WrappedKey, rewrap
from vaultstream.crypto.keyring import create_keyring, load_keyring, prune_keyring, rotate_keyring
from vaultstream.crypto.revocations import Revocation, add_revocations
from vaultstream.crypto.rows import Rows
from vaultstream.errors import CustodyError
from vaultstream.keys.custody import KEPT, KEPT_PER_KEY, WRAPPED_BYTES, Custody
from vaultstream.keys.worker import KeyPublisher, make_key, make_missing_keys
from vaultstream.local.services import LocalServices, Services
from vaultstream.store import keys as store
from vaultstream.store.jobs import delete_job
from vaultstream.worker import WorkerContext

pytestmark = pytest.mark.integration


@asynccontextmanager
async def keys_of_a_job(
    services: Services, url: str, db: asyncpg.Connection, kek_file: Path
) -> AsyncIterator[WorkerContext]:
    """A job with three keys, published on `keys.>`."""
    create_keyring(kek_file)
    job = await add_job(db, keys=0)
    async with open_context(services, url, job, kek_file=kek_file) as context:
        await make_missing_keys(context.pool, job, load_keyring(kek_file))
        await KeyPublisher(context).publish_changes()
        try:
            yield context
        finally:
            await KeysStream(context.bus).remove(job.token)


def custody_of(context: WorkerContext) -> Custody:
    return Custody(context.job, context.pool, context.bus, context.kek_file)


@pytest.fixture
async def context(
    services: Services, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> AsyncIterator[WorkerContext]:
    async with keys_of_a_job(services, engine_url, db, tmp_path / "kek") as context:
        yield context


@pytest.fixture
async def custody(context: WorkerContext) -> AsyncIterator[Custody]:
    async with custody_of(context) as custody:
        yield custody


async def open_key(custody: Custody, key_id: str) -> Any:
    opened = await custody.open([key_id])
    assert not opened.refused
    return opened.keys[key_id]


async def assert_signs(custody: Custody, db: asyncpg.Connection, context: WorkerContext) -> None:
    """Each key signs what its public half in Postgres verifies."""
    for key in await store.list_keys(db, context.job.job_no):
        rows = custody.signer.sign([await open_key(custody, key.key_id)], [1], [b"payload"])
        [signature] = Rows(custody.signer.width, bytearray(rows)).signatures
        public = load_der_public_key(key.public_key)
        assert isinstance(public, Ed25519PublicKey)
        public.verify(signature, b"payload")


async def test_a_key_is_opened_once_and_then_costs_no_query(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection
) -> None:
    key, *_ = await store.list_keys(db, context.job.job_no)
    opened = await open_key(custody, key.key_id)
    await db.execute("ALTER TABLE vaultstream.keys RENAME TO keys_out_of_reach")
    try:
        assert await open_key(custody, key.key_id) is opened
    finally:
        await db.execute("ALTER TABLE vaultstream.keys_out_of_reach RENAME TO keys")


@asynccontextmanager
async def while_opening(custody: Custody, db: asyncpg.Connection, *key_ids: str) -> AsyncIterator[None]:
    """Opens keys, and is in the middle of it for as long as the block runs."""
    async with db.transaction():
        await db.execute("LOCK TABLE vaultstream.keys")
        opening = asyncio.create_task(custody.open(key_ids))
        await waits_for_a_lock(db)
        yield
    assert set((await opening).keys) == set(key_ids)


@pytest.mark.parametrize("revoked", ["open before", "being opened"])
async def test_a_key_that_the_file_revokes_while_keys_are_opened_is_not_kept(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection, revoked: str
) -> None:
    before, new, other = await store.list_keys(db, context.job.job_no)
    await open_key(custody, before.key_id)
    key = before if revoked == "open before" else new
    async with while_opening(custody, db, before.key_id, new.key_id):
        entry = Revocation.of(key.key_id, key.public_key, at=datetime.now(UTC))
        add_revocations(context.kek_file.with_name("revocations"), [entry])
        await custody.open([])  # notices the file
    opened = await custody.open([before.key_id, new.key_id, other.key_id])
    assert set(opened.refused) == {key.key_id}
    assert key.key_id not in opened.keys


async def test_a_key_that_a_message_ends_while_others_are_opened_is_not_kept(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection
) -> None:
    before, new, _ = await store.list_keys(db, context.job.job_no)
    await open_key(custody, before.key_id)
    [wrapped] = [key for key in await store.list_wrapped(db, context.job) if key.key_id == before.key_id]
    async with while_opening(custody, db, before.key_id, new.key_id):
        custody._on_key(replace(wrapped, state="revoked"))
    assert set(custody._keys) == {new.key_id}


async def test_forged_messages_fill_no_memory_and_all_keys_still_sign(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection
) -> None:
    await heard(custody, 3)
    [real, *_] = list(custody._wrapped.values())
    custody._on_key(replace(real, wrapped=b"x" * (WRAPPED_BYTES + 1)))
    assert real.key_id not in custody._wrapped
    for n in range(1000):
        custody._on_key(replace(real, key_id=f"{real.key_id}-{n}"))
    assert len(custody._wrapped) == KEPT + KEPT_PER_KEY * context.job.spec.keys.count
    await assert_signs(custody, db, context)


async def heard(custody: Custody, count: int) -> None:
    async def enough() -> bool:
        return len(custody._wrapped) == count

    await eventually(enough)


async def test_keys_come_from_the_stream_without_reading_postgres(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection
) -> None:
    await heard(custody, 3)
    keys = await store.list_keys(db, context.job.job_no)
    await db.execute("DELETE FROM vaultstream.key_material m USING vaultstream.keys k "
                     "WHERE k.key_no = m.key_no AND k.job_no = $1", context.job.job_no)  # fmt: skip
    assert len(keys) == 3
    await assert_signs(custody, db, context)


async def test_keys_come_from_postgres_when_the_stream_is_missing(
    own_nats: LocalServices, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    services = await own_nats.services()
    async with keys_of_a_job(services, engine_url, db, tmp_path / "kek") as context:
        await context.bus.jetstream.delete_stream(KEYS_STREAM)
        async with custody_of(context) as custody:
            await assert_signs(custody, db, context)
            await KeysStream(context.bus).ensure()


async def test_a_stream_that_is_lost_and_created_again_is_subscribed_to_again(
    own_nats: LocalServices, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    services = await own_nats.services()
    async with (
        keys_of_a_job(services, engine_url, db, tmp_path / "kek") as context,
        custody_of(context) as custody,
    ):
        await heard(custody, 3)
        await context.bus.jetstream.delete_stream(KEYS_STREAM)
        await KeyPublisher(context).publish_changes()
        custody._wrapped.clear()
        await custody.watch()
        await heard(custody, 3)
        await assert_signs(custody, db, context)


FORGERIES = [
    "garbage",
    "not an object",
    "deep",
    "another key's",
    "another job's",
    "altered",
    "wrong algorithm",
    "unknown kek",
    "revoked",
]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_no_message_keeps_a_signer_from_its_keys(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection, forgery: str
) -> None:
    await heard(custody, 3)
    wrapped = await store.list_wrapped(db, context.job)
    for key, other in zip(wrapped, [*wrapped[1:], wrapped[0]], strict=True):
        document = json.loads(key.to_message())
        message = {
            "garbage": b"\xff\x00{",
            "not an object": b"[1]",
            "deep": b"[" * 20_000,
            "another key's": other.to_message(),
            "another job's": replace(key, job="somebody-elses").to_message(),
            "altered": replace(key, wrapped=key.wrapped[:-1] + bytes([key.wrapped[-1] ^ 1])).to_message(),
            "wrong algorithm": json.dumps({**document, "algorithm": "ECDSA_P256_SHA256"}).encode(),
            "unknown kek": json.dumps({**document, "kek_id": "kek-000000000000"}).encode(),
            "revoked": replace(key, state="revoked").to_message(),
        }[forgery]
        await context.bus.jetstream.publish(key_subject(key.job, key.key_id), message)
    marker = replace(wrapped[0], key_id=f"{context.job.token}-marker")
    await context.bus.jetstream.publish(key_subject(marker.job, marker.key_id), marker.to_message())
    await heard(custody, 4)  # all before the marker has been heard
    await assert_signs(custody, db, context)
    async with custody_of(context) as newcomer:
        await heard(newcomer, 1 if forgery in FORGERIES[:5] else 4)
        await assert_signs(newcomer, db, context)


async def test_rotating_and_pruning_the_key_encryption_key_goes_unnoticed(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection, tmp_path: Path
) -> None:
    """A signer that started under the old one receives old and new messages in random order."""
    kek_file = tmp_path / "kek"
    await heard(custody, 3)
    ring = rotate_keyring(kek_file)
    for key in await store.list_wrapped(db, context.job):
        assert await store.replace_wrapped(db, [rewrap(ring, key)])
    prune_keyring(kek_file, keep=[])
    await assert_signs(custody, db, context)
    async with custody_of(context) as newcomer:  # which has the new key alone, and hears old messages
        await heard(newcomer, 3)
        await assert_signs(newcomer, db, context)
    await KeyPublisher(context).publish_changes()

    async def new_versions() -> bool:
        return {key.version for key in custody._wrapped.values()} == {2}

    await eventually(new_versions)
    custody._keys.clear()
    await assert_signs(custody, db, context)


async def test_a_wrong_key_encryption_key_is_reported_and_nothing_is_signed(
    context: WorkerContext, db: asyncpg.Connection, tmp_path: Path
) -> None:
    create_keyring(tmp_path / "other")
    async with Custody(context.job, context.pool, context.bus, tmp_path / "other") as custody:
        [first, *_] = await store.list_keys(db, context.job.job_no)
        with pytest.raises(CustodyError):
            await open_key(custody, first.key_id)


async def test_a_key_whose_public_half_was_changed_signs_nothing(
    context: WorkerContext, custody: Custody, db: asyncpg.Connection
) -> None:
    [changed, *others] = await store.list_keys(db, context.job.job_no)
    await db.execute(
        "UPDATE vaultstream.keys SET public_key = $2 WHERE key_id = $1",
        changed.key_id,
        public_key_to_bytes(generate_private_key(changed.algorithm)),
    )
    with pytest.raises(CustodyError, match=changed.key_id):
        await open_key(custody, changed.key_id)
    for key in others:
        await open_key(custody, key.key_id)


async def test_a_key_for_another_algorithm_than_the_job_s_signs_nothing(
    context: WorkerContext, db: asyncpg.Connection, tmp_path: Path
) -> None:
    """Made by someone who has the key-encryption key: the envelope itself is in order."""
    planted = make_key(context.job.token, Algorithm.RSA_PSS_3072_SHA256, 9, load_keyring(tmp_path / "kek"))
    await store.add_keys(db, context.job, [planted])
    async with custody_of(context) as custody:
        with pytest.raises(CustodyError, match="RSA_PSS_3072_SHA256"):
            await open_key(custody, planted.wrapped.key_id)


async def test_a_key_of_a_deleted_job_is_gone(
    own_nats: LocalServices, engine_url: str, db: asyncpg.Connection, tmp_path: Path
) -> None:
    services = await own_nats.services()
    async with keys_of_a_job(services, engine_url, db, tmp_path / "kek") as context:
        [first, *_] = await store.list_keys(db, context.job.job_no)
        await delete_job(db, context.job.job_no, "Retain")
        await KeysStream(context.bus).remove(context.job.token)
        async with custody_of(context) as custody:
            with pytest.raises(CustodyError, match="is gone"):
                await open_key(custody, first.key_id)


async def test_what_is_read_from_the_stream_shows_no_private_key(
    context: WorkerContext, db: asyncpg.Connection
) -> None:
    for key in await store.list_wrapped(db, context.job):
        message = await context.bus.jetstream.get_last_msg(KEYS_STREAM, key_subject(key.job, key.key_id))
        assert WrappedKey.from_message(message.data or b"") == key
        assert set(json.loads(message.data or b"")) == {
            "job", "key_id", "version", "algorithm", "kek_id", "wrapped", "state"
        }  # fmt: skip
