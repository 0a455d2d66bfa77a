"""What someone who has the auditor's login of one tenant learns of how the jobs of another are scaled: nothing."""

from __future__ import annotations

import time
from dataclasses import astuple

import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from vaultstream.scaling.history import History
from vaultstream.scaling.kept import KeptDecision
from vaultstream.scaling.throughput import Seen
from vaultstream.store.decisions import keep_decision, list_decisions
from vaultstream.store.priors import MOST_KINDS, JobKind, find_prior, learn
from vaultstream.store.sql import query

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS
DECISION = KeptDecision(1.0, {"replicas": 0, "desired": 7, "message": "seven"})


async def test_decisions_and_memories_of_another_tenant_are_not_there(
    tenants_database: GuardedDatabase,
) -> None:
    async with connect(tenants_database.urls["owner"]) as owner:
        jobs = {tenant: await add_job(owner, tenant=tenant) for tenant in (SHOP, BANK, None)}
        for job in jobs.values():
            await keep_decision(owner, job.job_no, DECISION)
            await owner.fetch(query("write_scaling"), job.job_no, 0, {"history": {}}, None, None, 5)
    async with connect(tenants_database.urls[f"auditor-{SHOP}"]) as shop:
        found = {tenant: await list_decisions(shop, job.job_no) for tenant, job in jobs.items()}
        assert {tenant: len(kept) for tenant, kept in found.items()} == {SHOP: 1, BANK: 0, None: 0}
        seen = await shop.fetch("SELECT job_no FROM vaultstream.scaling")
    assert {row["job_no"] for row in seen} & {job.job_no for job in jobs.values()} == {jobs[SHOP].job_no}


async def test_what_jobs_of_another_tenant_have_shown_is_not_there(tenants_database: GuardedDatabase) -> None:
    kinds = [JobKind(tenant or "", "ED25519", 1, 0, "{}") for tenant in (SHOP, BANK, None)]
    async with connect(tenants_database.urls["owner"]) as owner:
        for kind in kinds:
            await owner.execute(query("write_prior"), *astuple(kind), {"seen": []})
    async with connect(tenants_database.urls[f"auditor-{SHOP}"]) as shop:
        rows = await shop.fetch("SELECT tenant FROM vaultstream.priors")
    assert {row["tenant"] for row in rows} == {SHOP}


async def test_the_operator_keeps_the_newest_kinds_of_jobs_of_each_tenant(
    tenants_database: GuardedDatabase,
) -> None:
    """Whoever may create jobs of one tenant neither fills the disk nor removes what jobs of others have shown."""
    rates = tuple(Seen(signers=count, rate=1_000.0 * count, samples=3, at=time.time()) for count in (4, 16))
    shown = History(seen=rates)
    async with connect(tenants_database.urls["operator"]) as operator:
        await operator.execute("DELETE FROM vaultstream.priors")
        others = [JobKind(tenant, "ED25519", 1, 0, "{}") for tenant in (BANK, "")]
        for kind in others:
            await learn(operator, kind, 1, shown)
        for size in range(1, MOST_KINDS + 21):
            await learn(operator, JobKind(SHOP, "ED25519", size, 0, "{}"), 1, shown)
        counts = await operator.fetch(
            "SELECT tenant, count(*) AS kinds FROM vaultstream.priors GROUP BY tenant"
        )
        assert {row["tenant"]: row["kinds"] for row in counts} == {SHOP: MOST_KINDS, BANK: 1, "": 1}
        newest = JobKind(SHOP, "ED25519", MOST_KINDS + 20, 0, "{}")
        assert [len((await find_prior(operator, kind)).seen) for kind in (*others, newest)] == [2, 2, 2]
