"""Faults of NATS (killed, wiped, frozen, slow) and of its messages (deleted, repeated, reordered, forged)."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]
from nats.js.errors import NotFoundError

from support.waiting import eventually
from vaultstream.api import Algorithm
from vaultstream.bus.direct import Outgoing
from vaultstream.bus.publishing import publish_all
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import RECORDS_STREAM, batch_subject, key_subject
from vaultstream.crypto.envelope import WrappedKey
from vaultstream.store.batches import pending_after
from vaultstream.store.keys import list_keys

if TYPE_CHECKING:
    import random

    from support.chaos.arena import Arena
    from vaultstream.store.jobs import Job


async def kill(arena: Arena, *, wipe: bool = False) -> bool:
    """Kills nats-server with SIGKILL and starts it again, with an empty store if `wipe` is set."""
    _, nats = await arena.local.ensure_running()
    assert nats is not None
    psutil.Process(nats.pid).kill()
    if wipe:
        await eventually(lambda: not _runs(nats.pid), what="NATS is dead")
        shutil.rmtree(arena.services.data_dir / "nats" / "jetstream")
    await arena.local.ensure_running()
    return True


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


async def freeze(arena: Arena, *, seconds: float) -> bool:
    """Stops nats-server for a while, with every connection open."""
    _, nats = await arena.local.ensure_running()
    assert nats is not None
    process = psutil.Process(nats.pid)
    process.suspend()
    try:
        await asyncio.sleep(seconds)  # time is the fault here
    finally:
        process.resume()
    return True


async def delete_consumer(arena: Arena, job: Job) -> bool:
    async with arena.bus() as bus:
        with suppress(NotFoundError):
            return bool(await bus.jetstream.delete_consumer(RECORDS_STREAM, job.token))
    return False


async def delete_stream(arena: Arena, stream: str) -> bool:
    async with arena.bus() as bus:
        with suppress(NotFoundError):
            return bool(await bus.jetstream.delete_stream(stream))
    return False


async def republish(arena: Arena, job: Job, chance: random.Random, *, times: int, mix: bool) -> int:
    """Publishes every pending batch again several times, in reverse or random order; returns how many messages."""
    async with arena.connection() as connection:
        numbers = await pending_after(connection, job.job_no, 0, limit=1000) * times
    if mix:
        chance.shuffle(numbers)
    async with arena.bus() as bus:
        for number in reversed(numbers):
            await RecordsStream(bus).publish(job.token, [number], generation=chance.randbytes(8).hex())
    return len(numbers)


async def reorder(arena: Arena, job: Job) -> bool:
    """Removes every message of a job from the stream, and publishes the pending batches in reverse order."""
    async with arena.bus() as bus:
        try:
            await bus.jetstream.purge_stream(RECORDS_STREAM, subject=f"records.{job.token}.*")
        except NotFoundError:
            return False
        async with arena.connection() as connection:
            numbers = await pending_after(connection, job.job_no, 0, limit=4000)
        await publish_all(bus, [Outgoing(batch_subject(job.token, n), b"", None) for n in reversed(numbers)])
    return bool(numbers)


async def send_garbage(arena: Arena, job: Job, chance: random.Random) -> int:
    """Publishes messages that are not batches or keys, as any permitted user could; returns how many were accepted."""
    async with arena.connection() as connection:
        keys = await list_keys(connection, job.job_no)
    messages = [*_hostile_batches(job, chance), *_hostile_keys(job, [key.key_id for key in keys], chance)]
    taken = 0
    async with arena.bus() as bus:
        for subject, payload, headers in messages:
            try:
                await bus.jetstream.publish(subject, payload, headers=headers, timeout=5)
            except Exception as refused:
                if not bus.client.is_connected:
                    raise refused from None
            else:
                taken += 1
    return taken


def _hostile_batches(job: Job, chance: random.Random) -> list[tuple[str, bytes, dict[str, str] | None]]:
    """Messages on `records.>` that name no batch or a missing one, or have a body."""
    names = ["0", "-1", "+1", "1e3", "०१", "٣", "9" * 18, "9" * 400, "0x1", "1 ", "drop-table", "\u202e1"]
    messages: list[tuple[str, bytes, dict[str, str] | None]] = [
        (f"records.{job.token}.{name}", b"", None) for name in names if " " not in name
    ]
    messages += [
        (batch_subject(job.token, 1), chance.randbytes(1000), None),  # huge for a batch
        (batch_subject(job.token, 1), chance.randbytes(100_000), None),  # more than the stream takes
        (batch_subject(job.token, 1), b'{"ids": [1, 2, 3], "key": "mine"}', {"Nats-Rollup": "all"}),
        (batch_subject(job.token, 2**62), b"", {"Nats-Expected-Last-Sequence": "1"}),
        (f"records.{job.token}", b"", None),
        (f"records.{job.token}.1.2.3", b"", None),
        ("records.no-such-job.1", b"\0" * 500, None),
    ]
    return messages


def _hostile_keys(
    job: Job, key_ids: list[str], chance: random.Random
) -> list[tuple[str, bytes, dict[str, str] | None]]:
    """Messages on `keys.>` that are not keys, name other keys, or have a forged state or envelope."""
    key_id = chance.choice(key_ids) if key_ids else "none"

    def forged(**changed: str | int | bytes) -> bytes:
        honest = {"job": job.token, "key_id": key_id, "version": 2**31 - 1, "state": "revoked"}
        honest |= {
            "algorithm": Algorithm.ED25519,
            "kek_id": "kek-" + "0" * 12,
            "wrapped": chance.randbytes(100),
        }
        return WrappedKey(**(honest | changed)).to_message()  # type: ignore[arg-type]

    own = key_subject(job.token, key_id)
    return [
        (own, forged(), None),
        (key_subject(job.token, chance.choice(key_ids or ["none"])), forged(job="another"), None),
        (key_subject(job.token, "nobodys"), forged(key_id="nobodys"), None),
        (key_subject(job.token, "other"), b"[" * 60_000, None),
        (key_subject(job.token, "other"), b'{"job": ' + b"9" * 60_000, None),
        (key_subject(job.token, "other"), chance.randbytes(64 * 1024 - 300), None),
        (key_subject(job.token, "other"), chance.randbytes(200_000), None),  # more than the stream takes
        (key_subject(job.token, "empty"), b"", None),
        (key_subject(job.token, "other"), b'"\xff\xfe\0\0"', {"Nats-Rollup": "sub"}),
    ]


async def delay(arena: Arena, *, milliseconds: int, seconds: float) -> bool:
    """Delays the traffic to and from NATS for a while, then cuts the connections."""
    arena.nats.delay_seconds = milliseconds / 1000
    try:
        await asyncio.sleep(seconds)  # time is the fault here
    finally:
        arena.nats.delay_seconds = 0
    return arena.nats.cut() > 0
