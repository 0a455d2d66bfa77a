"""The other processes are killed at the worst moments: the records worker, the keys worker, and the run itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from support.chaos.arena import PATIENCE, RECORDS
from support.chaos.postgres import commits_held
from support.waiting import eventually
from vaultstream.api import JobState
from vaultstream.settings import Settings
from vaultstream.store.database import open_pool
from vaultstream.store.jobs import find_job, set_suspended
from vaultstream.worker import WorkerContext, poll_job

if TYPE_CHECKING:
    from support.chaos.arena import Arena

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


KEYS = 150
"""More keys than the keys worker generates between two writes to Postgres."""


@pytest.mark.parametrize("point", ["after-plan", "before-checkpoint"])
async def test_a_records_worker_killed_between_two_steps_continues_where_it_was(
    arena: Arena, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between planning and publishing, and between publishing and its checkpoint, 100 batches at a time."""
    monkeypatch.setenv("VAULTSTREAM_MAX_OUTSTANDING", "100")
    job = await arena.lab.open(batchSize=20, keys={"count": 8})
    killed = []
    async with arena.running(job) as run:
        for _ in range(3 if point == "before-checkpoint" else 1):
            arena.points.arm(point, "kill")
            await eventually(lambda: arena.points.taken(point) or run.done())
            killed.append(arena.points.taken(point))
            arena.points.clear(point)
    assert len(set(killed)) == len(killed)
    assert None not in killed
    planned = "SELECT count(*), sum(records) FROM vaultstream.batches"
    assert await arena.lab.rows(planned) == [(RECORDS // 20, RECORDS)]
    await arena.assert_promises(job)


async def test_a_keys_worker_killed_halfway_skips_no_key_and_generates_none_twice(arena: Arena) -> None:
    job = await arena.lab.open(batchSize=100, keys={"count": KEYS, "algorithm": "ED25519"})
    arena.points.arm("after-keys", "kill")
    made = "SELECT count(*) FROM vaultstream.keys"
    async with arena.running(job), commits_held(arena, job):  # the job does not end before its keys exist
        await eventually(lambda: arena.points.taken("after-keys"))

        async def all_made() -> bool:
            return bool(await arena.lab.value(made) >= KEYS)

        await eventually(all_made)
    ordinals = await arena.lab.rows("SELECT ordinal FROM vaultstream.keys ORDER BY ordinal")
    assert [ordinal for (ordinal,) in ordinals] == list(range(1, KEYS + 1))
    await arena.assert_promises(job)


async def test_a_run_killed_again_and_again_continues_where_it_was(arena: Arena) -> None:
    """Workers of a killed run drain while those of the next run start: two pools overlap."""
    manifest = arena.folder / "job.json"
    spec = {"records": {"table": "records"}, "batchSize": 25, "keys": {"count": 8}}
    head = {"apiVersion": "vaultstream.dev/v1alpha1", "kind": "SigningJob", "metadata": {"name": "job"}}
    manifest.write_text(json.dumps({**head, "spec": spec}))
    wired = arena.lab.services
    environment = {
        **os.environ,
        "DATABASE_URL": wired.database_url,
        "VAULTSTREAM_NATS_URL": wired.nats_url,
        "VAULTSTREAM_NATS_USER": wired.nats_user,
        "VAULTSTREAM_NATS_PASSWORD": wired.nats_password,
        "VAULTSTREAM_KEK_FILE": str(wired.kek_file),
        "VAULTSTREAM_DATA_DIR": str(wired.data_dir),
        "VAULTSTREAM_SEALS_DIR": str(arena.folder / "seals"),
    }
    killed, settled, code = 0, 0, None
    while code is None or code == -signal.SIGKILL:
        run = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vaultstream_cli", "run", "-f", str(manifest)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=arena.folder,
            env=environment,
        )
        if killed < 3:
            floor = settled + 100

            async def went_on(floor: int = floor) -> bool:
                made = await arena.lab.value("SELECT to_regclass('vaultstream.signatures_1') IS NOT NULL")
                return bool(made) and await arena.lab.value(DONE) >= floor

            await eventually(went_on, seconds=PATIENCE / 2)
            settled = int(await arena.lab.value(DONE))
            run.kill()
            killed += 1
        code = await asyncio.wait_for(run.wait(), 90)
    assert (code, killed) == (0, 3)
    async with arena.connection() as connection:
        job = await find_job(connection, "job")
    assert job is not None
    await arena.assert_promises(job)


DONE = "SELECT count(*) FROM vaultstream.batches WHERE state = 'done'"


async def test_a_query_for_the_job_that_is_never_answered_times_out_and_the_next_one_succeeds(
    arena: Arena,
) -> None:
    """Otherwise a worker whose pool is gone would stay until Postgres answers."""
    job = await arena.lab.open()
    url = arena.lab.services.database_url
    async with open_pool(url, role="records", size=1) as pool, arena.bus() as bus:
        context = WorkerContext(Settings(), job, pool, bus, "me", asyncio.Event())
        assert await poll_job(context) == job
        async with arena.connection() as connection:
            await set_suspended(connection, job.job_no, suspended=True)
        arena.postgres.silence(new=False)
        looking = asyncio.create_task(poll_job(context))
        _, waiting = await asyncio.wait({looking}, timeout=20)
        arena.postgres.restore()
        assert not waiting, "it waits until somebody answers"
        assert await looking == job
        seen = await poll_job(context)
    assert seen is not None
    assert seen.state is JobState.SUSPENDED
