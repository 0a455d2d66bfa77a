"""A cluster of three NATS servers with the documented settings keeps working when one of them dies."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest
from nats.js.errors import APIError

from support.as_user import as_user
from support.engine import new_database, overlaps_of
from support.lab import Lab
from support.nats_cluster import ADMIN, NatsCluster, nats_cluster
from support.waiting import eventually
from vaultstream.bus.connection import BUS_ERRORS
from vaultstream.bus.inspection import list_streams
from vaultstream.bus.keys import KeysStream
from vaultstream.bus.records import RecordsStream
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.errors import BusError
from vaultstream.store.database import open_pool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nats.js.api import ClusterInfo

    from vaultstream.local.services import LocalServices
    from vaultstream.store.jobs import Job

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

RECORDS = 20_000
BATCH = 20


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    with nats_cluster(tmp_path / "nats") as cluster:
        await cluster.ready()
        yield cluster


@pytest.fixture
async def lab(
    mortal: LocalServices, cluster: NatsCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lab]:
    """A database with records, and workers that use the cluster and have short leases."""
    for name, value in {
        **cluster.environment(),
        "VAULTSTREAM_LEASE_SECONDS": "5",
        "VAULTSTREAM_ACK_WAIT_SECONDS": "5",
        "VAULTSTREAM_SEALS_DIR": str(tmp_path / "seals"),  # the seal key is that of other databases, too
    }.items():
        monkeypatch.setenv(name, value)
    await mortal.ensure_running()
    services = await mortal.services()
    async with (
        new_database(services) as url,
        open_pool(url, role="test", size=4, reset=False, check=as_user) as pool,
    ):
        here = replace(
            services,
            database_url=url,
            nats_url=cluster.url,
            nats_user=ADMIN,
            nats_password=cluster.passwords[ADMIN],
            data_dir=tmp_path / "run",
            _local=None,
            _bus=cluster.address(),
        )
        lab = Lab(here, pool)
        await lab.execute(
            "CREATE TABLE records AS SELECT n AS id, repeat(md5(n::text), 4) AS payload "
            f"FROM generate_series(1::bigint, {RECORDS}) n"
        )
        await lab.execute("ALTER TABLE records ADD PRIMARY KEY (id)")
        yield lab


async def state_of(cluster: NatsCluster, stream: str) -> ClusterInfo | None:
    """The leader and the followers of a stream; None during an election."""
    try:
        async with cluster.bus() as bus:
            found = (await bus.answer(bus.jetstream.stream_info(stream))).cluster
    except (APIError, BusError, *BUS_ERRORS):
        return None
    return found if found is not None and found.leader else None


async def kill_leader(cluster: NatsCluster, stream: str) -> str:
    state: ClusterInfo = await eventually(lambda: state_of(cluster, stream))
    assert state.leader
    cluster.kill(state.leader)
    return state.leader


async def caught_up(cluster: NatsCluster) -> bool:
    for stream in (RECORDS_STREAM, KEYS_STREAM):
        state = await state_of(cluster, stream)
        if state is None or len(state.replicas or []) != 2:
            return False
        if not all(peer.current and not peer.offline for peer in state.replicas or []):
            return False
    return True


@asynccontextmanager
async def running(lab: Lab, job: Job) -> AsyncIterator[None]:
    """Runs a job in a pool of real workers; the block disturbs it, and it must still end."""
    run = asyncio.create_task(lab.finish(job, max_signers=2, seconds=300))
    try:
        yield
        await run
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def reach(lab: Lab, job: Job, share: float) -> None:
    async def there() -> bool:
        done = "SELECT coalesce(sum(signed), 0) FROM vaultstream.batches WHERE job_no = $1"
        return await lab.value(done, job.job_no) >= share * RECORDS

    await eventually(there, seconds=240, what=f"{share:.0%} of the records are signed")


async def replicas(cluster: NatsCluster) -> dict[str, int]:
    """The number of replicas by stream.

    A stream without a leader does not answer. A job can end before the election does: its consumer has a leader of its own.
    """

    async def answered() -> dict[str, int] | None:
        try:
            async with cluster.bus() as bus:
                return {stream.name: stream.replicas for stream in await list_streams(bus)}
        except (BusError, *BUS_ERRORS):
            return None

    found: dict[str, int] = await eventually(answered, seconds=60, what="both streams have leaders")
    return found


def published_anew(lab: Lab, job: Job) -> list[str]:
    """What the records worker logs about batches that the stream had lost."""
    lines = (lab.services.data_dir / "logs" / job.token / "records-1.log").read_text().splitlines()
    return [line for line in lines if "had lost" in line]


async def test_a_leader_that_dies_for_good_costs_seconds_and_no_batch(cluster: NatsCluster, lab: Lab) -> None:
    job = await lab.open(batchSize=BATCH, keys={"count": 8})
    async with running(lab, job):
        await reach(lab, job, 0.2)
        dead = await kill_leader(cluster, RECORDS_STREAM)
    assert cluster.servers[dead].process is None
    assert await replicas(cluster) == {RECORDS_STREAM: 3, KEYS_STREAM: 3}
    assert published_anew(lab, job) == []
    await assert_promises(lab, job)


async def test_leaders_that_die_in_turn_and_restart_cost_seconds_and_no_batch(
    cluster: NatsCluster, lab: Lab
) -> None:
    job = await lab.open(batchSize=BATCH, keys={"count": 8})
    async with running(lab, job):
        for share, stream in ((0.15, RECORDS_STREAM), (0.35, KEYS_STREAM), (0.55, RECORDS_STREAM)):
            await reach(lab, job, share)
            dead = await kill_leader(cluster, stream)
            await reach(lab, job, share + 0.1)
            cluster.start(dead)
            await eventually(lambda: caught_up(cluster), seconds=60)
    assert published_anew(lab, job) == []
    await assert_promises(lab, job)


async def test_a_job_keeps_running_while_its_streams_get_more_replicas(
    cluster: NatsCluster, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTSTREAM_NATS_REPLICAS", "1")
    job = await lab.open(batchSize=BATCH, keys={"count": 8})
    async with running(lab, job):
        await reach(lab, job, 0.2)
        assert await replicas(cluster) == {RECORDS_STREAM: 1, KEYS_STREAM: 1}
        async with cluster.bus(replicas=3) as bus:
            assert not await RecordsStream(bus).ensure()
            assert not await KeysStream(bus).ensure()
    assert await replicas(cluster) == {RECORDS_STREAM: 3, KEYS_STREAM: 3}
    await assert_promises(lab, job)


async def assert_promises(lab: Lab, job: Job) -> None:
    report = await lab.verify(job)
    assert report.ok, (report.problems, report.examples)
    assert (report.records, report.valid, report.dead) == (RECORDS, RECORDS, 0)
    connection = await asyncpg.connect(lab.services.database_url)
    assert await overlaps_of(connection, job) == 0
    await connection.close()
