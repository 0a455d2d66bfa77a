"""The metrics of the operator and the workers, compared with Postgres and Kubernetes number by number."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from support.engine import open_bus
from support.fleet import open_fleet
from support.freezing import freeze, thaw
from support.kubelet import running_pods
from support.scraping import Series, ServedWorker, by_label, closed_view, served_worker, value
from support.waiting import eventually
from vaultstream import __version__
from vaultstream.bus.records import RecordsStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.operating import Operator, Site

pytestmark = pytest.mark.cluster

RECORDS, UNREADABLE, BATCH = 200, (5, 6, 150), 10
BASE_UNITS = re.compile(r"^(vaultstream|process)_[a-z_]+$")
BOUNDED = {
    "namespace",
    "name",
    "type",
    "reason",
    "work",
    "state",
    "outcome",
    "le",
    "version",
    "role",
    "python",
    "path",
}


@asynccontextmanager
async def held_open(site: Site) -> AsyncIterator[None]:
    """Keeps jobs from completing, so that their metrics are still served when all records are signed."""
    await site.db.execute(
        "CREATE FUNCTION hold_open() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; "
        "CREATE TRIGGER hold_open BEFORE UPDATE ON vaultstream.jobs FOR EACH ROW "
        "WHEN (new.state = 'Complete') EXECUTE FUNCTION hold_open()"
    )
    try:
        yield
    finally:
        await site.db.execute("DROP FUNCTION hold_open CASCADE")


async def worker(
    stack: AsyncExitStack, site: Site, role: str, token: str, **environment: str
) -> ServedWorker:
    log = site.folder / f"served-{len(list(site.folder.iterdir()))}.log"
    started = served_worker(site.services, site.database_url, role, token, log, **environment)
    return await stack.enter_async_context(started)


def of_job(site: Site, series: Series, name: str = "job") -> dict[str, float]:
    """Returns an operator's metrics of a job, by metric name and further label values in the order of their labels."""
    found = {}
    for (metric, labels), number in series.items():
        own = dict(labels)
        if (own.pop("namespace", ""), own.pop("name", "")) == (site.namespace, name):
            values = (own[label] for label in sorted(own))
            found["/".join([metric.removeprefix("vaultstream_"), *values])] = number
    return found


async def becomes(operator: Operator, site: Site, name: str = "job", **wanted: float) -> dict[str, float]:
    """Waits until an operator serves these numbers of a job (`/` is written `__`); returns all its metrics of the job."""
    expected = {metric.replace("__", "/"): number for metric, number in wanted.items()}

    async def so() -> dict[str, float] | None:
        found = of_job(site, await operator.metrics(), name)
        return found if expected.items() <= found.items() else None

    return dict(await eventually(so, seconds=30, what=f"{expected}"))


async def count(site: Site, what: str) -> int:
    return int(await site.db.fetchval(f"SELECT count(*) FROM vaultstream.{what}"))


async def test_the_metrics_agree_with_postgres_and_kubernetes(site: Site) -> None:
    await site.db.execute("UPDATE records SET payload = NULL WHERE id = ANY ($1)", UNREADABLE)
    operator = await site.operator()
    async with running_pods(site.client, site.namespace), held_open(site), AsyncExitStack() as stack:
        await site.apply("job", scaling={"pollingInterval": 1, "lagThreshold": 5})
        token = await site.status_field("job", "token")
        keys = await worker(stack, site, "keys", token)
        records = await worker(stack, site, "records", token)

        waiting = await count(site, "batches WHERE state = 'pending'") or RECORDS // BATCH
        before = await becomes(operator, site, job_lag_batches=waiting, signers_desired=4, signers_ready=4)
        assert await count(site, "batches WHERE state = 'pending'") == before["job_lag_batches"] == 20
        assert (before["job_records/left"], before["job_records/signed"]) == (RECORDS, 0)
        deployment = await site.child("job", "signing")
        assert deployment is not None
        assert deployment["spec"]["replicas"] == before["signers_desired"]
        assert deployment["status"]["readyReplicas"] == before["signers_ready"]
        assert not any(number for name, number in before.items() if name.startswith("scaling_hold"))

        signers = [await worker(stack, site, "signing", token) for _ in range(2)]
        after = await becomes(operator, site, job_lag_batches=0, job_records__left=0)
        [table] = await site.db.fetchrow("SELECT 'signatures_' || job_no FROM vaultstream.jobs")
        signed, dead = await count(site, table), await count(site, "dead_letters")
        assert (after["job_records/signed"], after["job_records/dead"]) == (signed, dead)
        assert (signed, dead) == (RECORDS - len(UNREADABLE), len(UNREADABLE))

        async def idle() -> list[Series] | None:
            scrapes = [await signer.scrape() for signer in signers]
            return scrapes if not any(value(s, "vaultstream_batches_in_hand") for s in scrapes) else None

        scrapes: list[Series] = await eventually(idle)

        def total(name: str, **labels: str) -> float:
            return sum(value(series, f"vaultstream_{name}", **labels) for series in scrapes)

        assert total("records_signed_total") == signed
        reasons = [by_label(series, "vaultstream_dead_letters_total", "reason") for series in scrapes]
        assert sum(found.get("PayloadNull", 0) for found in reasons) == dead
        batches, leases = (
            await count(site, "batches"),
            await count(site, "leases WHERE outcome = 'committed'"),
        )
        assert total("batches_total", outcome="committed") == leases == batches
        for timed in ("lease_wait_seconds", "batch_duration_seconds"):
            assert total(f"{timed}_count") == batches
        for timed in ("sign_duration_seconds", "commit_duration_seconds"):  # of several batches at a time
            assert 0 < total(f"{timed}_count") <= batches
        assert await count(site, "leases WHERE outcome <> 'committed'") == 0  # other outcomes: the next test
        assert total("leases_expired_total") == sum(lost(series) for series in scrapes) == 0
        planned = await records.scrape()
        assert value(planned, "vaultstream_records_planned_total") == RECORDS
        assert value(planned, "vaultstream_batches_published_total") == batches
        assert value(await keys.scrape(), "vaultstream_keys_made_total") == await count(site, "keys") == 4

        series = await operator.metrics()
        told = await site.recorded("job", "ScaledOut")
        counted = sum((event.get("series") or {"count": 1})["count"] for event in told)
        assert by_label(series, "vaultstream_events_total", "reason")["ScaledOut"] == counted
        served = [series, planned, *scrapes, await keys.scrape()]
        for name, labels in (key for each in served for key in each):
            assert BASE_UNITS.match(name), name
            assert {label for label, _ in labels} <= BOUNDED, (name, labels)


def lost(series: Series) -> float:
    return sum(by_label(series, "vaultstream_leases_lost_total", "reason").values())


def held_by(signer: ServedWorker) -> str:
    """The SQL condition for the keys or leases of one process."""
    return f"holder LIKE '%:{signer.process.pid}:%'"


async def test_expired_leases_are_counted_as_in_postgres(site: Site) -> None:
    """The job has one key: its first signer is killed, the next one frozen, and a third signs all batches."""
    await site.operator()
    async with held_open(site), AsyncExitStack() as stack:
        async with closed_view(site.db, RECORDS) as view:
            await site.apply("job", table=view, keys={"count": 1, "algorithm": "ED25519"})
            token = await site.status_field("job", "token")
            short = {"VAULTSTREAM_LEASE_SECONDS": "1", "VAULTSTREAM_ACK_WAIT_SECONDS": "1"}
            for role in ("keys", "records"):
                await worker(stack, site, role, token, **short)
            killed = await worker(stack, site, "signing", token, **short)
            await freeze_with_keys(site, killed)
            killed.process.kill()
            frozen = await worker(stack, site, "signing", token, **short)
            await freeze_with_keys(site, frozen)

        other = await worker(stack, site, "signing", token, **short)
        for signer in (killed, frozen):
            await eventually(lambda signer=signer: expired(site, signer))
        thaw(frozen.process.pid)
        await eventually(lambda: settled(site))
        scrapes = [await signer.scrape() for signer in (frozen, other)]
        assert sum(value(series, "vaultstream_leases_expired_total") for series in scrapes) == await count(
            site, "leases WHERE outcome = 'expired'"
        )
        assert [lost(series) for series in scrapes] == [await expired(site, frozen), 0]  # by its own account
        committed = await count(site, f"leases WHERE outcome = 'committed' AND NOT {held_by(killed)}")
        assert (
            sum(value(series, "vaultstream_records_signed_total") for series in scrapes) == BATCH * committed
        )


async def freeze_with_keys(site: Site, signer: ServedWorker) -> None:
    """Freezes a signer that holds keys, and can't return them: its source is closed."""
    await eventually(lambda: count(site, f"keys WHERE {held_by(signer)}"))
    await freeze(signer.process.pid)
    assert await count(site, f"keys WHERE {held_by(signer)}")


async def expired(site: Site, signer: ServedWorker) -> int:
    """Leases of a signer that other signers found expired."""
    return await count(site, f"leases WHERE outcome = 'expired' AND {held_by(signer)}")


async def settled(site: Site) -> bool:
    return not await count(site, "batches WHERE state = 'pending'")


async def test_an_operator_serves_metrics_of_its_own_work(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job")
    await becomes(operator, site, signers_desired=0)
    series = await operator.metrics()
    builds = [dict(labels) for name, labels in series if name == "vaultstream_build_info"]
    assert [(build["role"], build["version"]) for build in builds] == [("operator", __version__)]
    reconciles = value(series, "vaultstream_reconcile_duration_seconds_count")
    assert reconciles >= 1
    assert value(series, "vaultstream_reconcile_duration_seconds_bucket", le="+Inf") == reconciles
    assert value(series, "vaultstream_reconcile_errors_total") == 0
    assert value(series, "process_resident_memory_bytes") > 0
    waited = [
        value(series, "vaultstream_queue_wait_seconds_count", work=work) for work in ("scaling", "other")
    ]
    assert sum(waited) >= reconciles


async def test_a_lag_that_cant_be_read_is_absent_and_the_hold_says_why(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1, "lagThreshold": 5})
    async with open_fleet(site) as fleet, open_bus(site.services) as bus:
        job = await fleet.play("job", keys=4)
        await job.publish(20)
        await becomes(operator, site, job_lag_batches=20, signers_desired=4)
        await RecordsStream(bus).remove(job.token)
        held = await becomes(operator, site, scaling_hold__ConsumerMissing=1)
        assert "job_lag_batches" not in held
        assert held["signers_desired"] == 4
        assert sum(number for name, number in held.items() if name.startswith("scaling_hold")) == 1
        await RecordsStream(bus).ensure_consumer(job.token, ack_wait_seconds=60, max_ack_pending=1000)
        await becomes(operator, site, scaling_hold__ConsumerMissing=0, job_lag_batches=0)


async def test_a_suspended_job_has_no_lag_and_requests_no_signers(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1, "lagThreshold": 5})
    async with open_fleet(site) as fleet:
        await (await fleet.play("job", keys=4)).publish(20)
        await becomes(operator, site, job_lag_batches=20, signers_desired=4)
        await site.patch("job", spec={"suspend": True})
        found = await becomes(operator, site, signers_desired=0)
        assert "job_lag_batches" not in found


async def test_a_job_that_has_ended_has_the_metrics_of_its_conditions_until_it_is_deleted(site: Site) -> None:
    operator = await site.operator()
    await site.apply("job", scaling={"pollingInterval": 1, "lagThreshold": 5})
    await site.apply("late")
    await becomes(operator, site, signers_desired=0, job_condition__MakingKeys__Reconciling=1)
    ended = "UPDATE vaultstream.jobs SET state = $1, finished_at = now() WHERE name = $2"
    await site.db.execute(ended, "Complete", f"{site.namespace}/job")
    await site.db.execute(ended, "Failed", f"{site.namespace}/late")
    complete = {"job_condition/AllSigned/Complete": 1}
    failed = {f"job_condition/DeadlineExceeded/{kind}": 1 for kind in ("Failed", "Stalled")}
    await has(operator, site, "job", complete)
    await has(operator, site, "late", failed)

    await operator.leave()
    operator = await site.operator()
    await has(operator, site, "job", complete)
    await has(operator, site, "late", failed)
    for name in ("job", "late"):
        await site.delete(name)
        await has(operator, site, name, {})


async def has(operator: Operator, site: Site, name: str, metrics: dict[str, float]) -> None:
    """Waits until an operator serves these metrics of a job, and no others."""

    async def so() -> bool:
        found.clear()
        found.update(of_job(site, await operator.metrics(), name))
        return found == metrics

    found: dict[str, float] = {}
    await eventually(so, seconds=20, what=lambda: f"{name}: {metrics}, not {found}")
