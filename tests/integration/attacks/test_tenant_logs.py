"""What someone who has the records login of one tenant tries on the logs and seals of another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job, new_name
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from support.log_of_seals import new_key
from vaultstream.proof.checkpoint import Checkpoint, sign_checkpoint
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.seal import job_origin, log_origin
from vaultstream.store.jobs import Job
from vaultstream.store.logs import (
    EntryKind,
    Log,
    NewEntry,
    add_checkpoint,
    append_entries,
    find_job_log,
    lock_log,
    newest_plan,
    newest_seal,
)
from vaultstream.store.sql import query

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS


@pytest.fixture
async def owner(tenants_database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    async with connect(tenants_database.urls["owner"]) as connection:
        yield connection


@pytest.fixture
async def shop(tenants_database: GuardedDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The records login of the shop."""
    async with connect(tenants_database.urls[f"records-{SHOP}"]) as connection:
        yield connection


async def own_log(shop: asyncpg.Connection) -> Log:
    return await lock_log(shop, f"{new_name('shop')}/tenants/{SHOP}", tenant=SHOP)


def entry(kind: EntryKind, body: str) -> NewEntry:
    return NewEntry(kind=kind, leaf=leaf_hash(body.encode()), body=body)


async def test_a_tenant_enters_nothing_about_a_job_that_is_yet_to_be(
    owner: asyncpg.Connection, shop: asyncpg.Connection
) -> None:
    mine = await add_job(owner, tenant=SHOP)
    log = await own_log(shop)
    coming = mine.job_no + 1
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no job"):
        await append_entries(shop, log, coming, [entry(EntryKind.SEAL, "{not json}")])
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no job"):
        await lock_log(shop, f"{log.origin}/jobs/{new_name('t')}", job_no=coming, tenant=SHOP)
    unreadable = entry(EntryKind.SEAL, f'{{not json "jobToken":"{mine.token}"}}')
    assert (await append_entries(shop, log, mine.job_no, [unreadable])).size == 1


async def test_a_tenant_enters_no_seals_that_those_who_look_for_the_newest_one_have_to_pass_over(
    owner: asyncpg.Connection, shop: asyncpg.Connection
) -> None:
    mine = await add_job(owner, tenant=SHOP)
    log = await own_log(shop)
    for kind in (EntryKind.SEAL, EntryKind.PLAN):
        for body in ("a" * 1_000_000, f'"jobToken":"{mine.token}x"', f'"jobToken":"{mine.token[:-1]}"'):
            with pytest.raises(asyncpg.InvalidParameterValueError, match="no entries"):
                await append_entries(shop, log, mine.job_no, [entry(kind, body)])


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_tenant_enters_things_about_its_deleted_job_and_nothing_about_anothers(
    owner: asyncpg.Connection, shop: asyncpg.Connection, policy: str
) -> None:
    mine, theirs = await add_job(owner, tenant=SHOP), await add_job(owner, tenant=BANK)
    for job in (mine, theirs):
        await owner.execute("SELECT vaultstream.delete_job($1, $2)", job.job_no, policy)
    log = await own_log(shop)
    with pytest.raises((asyncpg.InvalidParameterValueError, asyncpg.InsufficientPrivilegeError)):
        await append_entries(shop, log, theirs.job_no, [entry(EntryKind.SEAL, "{}")])
    about = f'{{"jobToken":"{mine.token}"}}'
    assert (await append_entries(shop, log, mine.job_no, [entry(EntryKind.SEAL, about)])).size == 1


async def sealed(owner: asyncpg.Connection, job: Job) -> str:
    """Seals a job, as complete, in the log of its tenant; returns the seal."""
    key = new_key()
    own = await lock_log(
        owner, job_origin(log_origin(key.name, job.tenant), job.token), job_no=job.job_no, tenant=job.tenant
    )
    await add_checkpoint(owner, own, sign_checkpoint(Checkpoint(own.origin, 0, own.tree.root()), key))
    body = f'{{"jobToken":"{job.token}","state":"Complete","treeSize":0}}'
    log = await lock_log(owner, log_origin(key.name, job.tenant), tenant=job.tenant)
    log = await append_entries(owner, log, job.job_no, [entry(EntryKind.SEAL, body)])
    await add_checkpoint(owner, log, sign_checkpoint(Checkpoint(log.origin, 1, log.tree.root()), key))
    return body


async def test_what_another_tenants_log_says_of_a_job_counts_for_nothing(
    owner: asyncpg.Connection, shop: asyncpg.Connection
) -> None:
    """Such entries were possible once, by the number that the job was to have."""
    job, other = await add_job(owner, tenant=BANK), await add_job(owner, tenant=BANK)
    log = await own_log(shop)
    forged = f'{{"jobToken":"{job.token}","state":"Complete","treeSize":0}}'
    for index, (kind, body, about) in enumerate(
        (
            ("seal", "{not json}", job),
            ("seal", forged, job),
            ("seal", forged.replace(job.token, other.token), other),
            ("plan", forged, job),
        )
    ):
        await owner.execute(
            "INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, body, leaf) VALUES ($1, $2, $3, $4, $5, $6)",
            *(log.log_no, index, kind, about.job_no, body, bytes(32)),
        )
    await owner.execute(
        "INSERT INTO vaultstream.logs (origin, job_no, tenant) VALUES ($1, $2, $3)",
        *(f"{log.origin}/jobs/{job.token}", job.job_no, SHOP),
    )
    assert await newest_seal(owner, job.job_no) is None
    assert await newest_plan(owner, job.job_no) is None
    assert await find_job_log(owner, job.job_no) is None
    body = await sealed(owner, job)
    last = await own_log(shop)  # its number is higher than that of the bank's log
    await owner.execute(
        "INSERT INTO vaultstream.log_entries (log_no, index, kind, job_no, body, leaf) VALUES ($1, 0, 'seal', $2, '{not json}', $3)",
        *(last.log_no, job.job_no, bytes(32)),
    )
    newest = await newest_seal(owner, job.job_no)
    assert newest is not None
    assert newest.body == body
    await owner.execute("UPDATE vaultstream.jobs SET state = 'Complete' WHERE job_no = $1", other.job_no)
    assert other.name in [row["name"] for row in await owner.fetch(query("list_unsealed"))]


async def test_a_tenant_takes_the_origin_of_no_other(
    owner: asyncpg.Connection, shop: asyncpg.Connection
) -> None:
    name, job = new_name("key"), await add_job(owner, tenant=BANK)
    theirs = log_origin(name, BANK)
    for origin in (
        name,
        theirs,
        job_origin(name, job.token),
        job_origin(theirs, job.token),
        f"{theirs}{SHOP}",
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="of another job or tenant"):
            await lock_log(shop, origin, tenant=SHOP)
    assert (await lock_log(shop, log_origin(name, SHOP), tenant=SHOP)).size == 0
    assert (await lock_log(owner, theirs, tenant=BANK)).size == 0
    assert (await lock_log(owner, job_origin(theirs, job.token), job_no=job.job_no, tenant=BANK)).size == 0


async def test_a_worker_without_a_tenant_takes_the_origin_of_none(tenants_database: GuardedDatabase) -> None:
    name = new_name("key")
    async with connect(tenants_database.urls["records"]) as records:
        for origin in (log_origin(name, BANK), job_origin(log_origin(name, BANK), "t")):
            with pytest.raises(asyncpg.InvalidParameterValueError, match="of another job or tenant"):
                await lock_log(records, origin)
        assert (await lock_log(records, name)).size == 0


async def test_opening_a_log_again_uses_up_no_number(shop: asyncpg.Connection) -> None:
    origin = f"{new_name('key')}/tenants/{SHOP}"
    first = await lock_log(shop, origin, tenant=SHOP)
    for _ in range(5):
        assert await lock_log(shop, origin, tenant=SHOP) == first
    assert (await own_log(shop)).log_no == first.log_no + 1


@pytest.mark.parametrize("entries", [0, 1, 2, 3, 7])
async def test_a_note_that_is_no_checkpoint_of_the_log_is_not_stored(
    owner: asyncpg.Connection, shop: asyncpg.Connection, entries: int
) -> None:
    job, log = await add_job(owner, tenant=SHOP), await own_log(shop)
    new = [entry(EntryKind.SEAL, f'{each}"jobToken":"{job.token}"') for each in range(entries)]
    log = await append_entries(shop, log, job.job_no, new)
    key, root = new_key(), log.tree.root()
    for wrong in (
        Checkpoint("other", log.size, root),
        Checkpoint(log.origin, log.size + 1, root),
        Checkpoint(log.origin, log.size, bytes(32)),
    ):
        with pytest.raises(asyncpg.InvalidParameterValueError, match="no checkpoint"):
            await add_checkpoint(shop, log, sign_checkpoint(wrong, key))
    with pytest.raises(asyncpg.InvalidParameterValueError, match="no checkpoint"):
        await add_checkpoint(shop, log, b"garbage")
    await add_checkpoint(shop, log, sign_checkpoint(Checkpoint(log.origin, log.size, root), key))


async def test_a_tenant_numbers_no_event_of_anothers_deleted_job(
    owner: asyncpg.Connection, shop: asyncpg.Connection
) -> None:
    for tenant in (SHOP, BANK):
        job = await add_job(owner, tenant=tenant)
        await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
        if tenant == SHOP:
            assert await shop.fetchval(query("number_audit_events"), job.job_no) >= 2
            continue
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await shop.fetchval(query("number_audit_events"), job.job_no)


async def test_what_a_tenant_enters_is_not_searched_for_the_seals_of_others(
    owner: asyncpg.Connection, shop: asyncpg.Connection
) -> None:
    mine, theirs = await add_job(owner, tenant=SHOP), await add_job(owner, tenant=BANK)
    log = await own_log(shop)
    new = [entry(EntryKind.SEAL, f'{each}"jobToken":"{mine.token}"') for each in range(200)]
    await append_entries(shop, log, mine.job_no, new)
    await owner.execute("ANALYZE vaultstream.log_entries, vaultstream.logs")
    statement = f"EXPLAIN (ANALYZE, FORMAT JSON) {query('audit_seal_log_of')}"
    own = await owner.fetchval(
        "SELECT count(*) FROM vaultstream.log_entries JOIN vaultstream.logs l USING (log_no) WHERE l.tenant = $1",
        BANK,
    )
    found = await owner.fetchval(statement, f'"jobToken":"{theirs.token}"', BANK)
    [plan] = json.loads(found) if isinstance(found, str) else found
    assert read_of_entries(plan["Plan"]) <= own


def read_of_entries(plan: dict[str, Any]) -> int:
    """Returns how many entries of logs a plan has read."""
    here = 0
    if plan.get("Relation Name") == "log_entries":
        here = int((plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"])
    return here + sum(read_of_entries(part) for part in plan.get("Plans", ()))
