"""What a session of any login says of itself: that it is a worker."""

from __future__ import annotations

from contextlib import AsyncExitStack

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS
from vaultstream.errors import UsageError
from vaultstream.local.deletion import require_idle
from vaultstream.store.jobs import Job
from vaultstream.store.sessions import list_worker_sessions

pytestmark = pytest.mark.integration
SHOP, _ = TENANTS
ROLES = "keys", "records", "signing"


async def call_themselves_workers(
    stack: AsyncExitStack, urls: dict[str, str], job: Job, *logins: str
) -> None:
    """Connects with each of the logins once for each role, by the name that a worker of it has."""
    for login in logins:
        for role in ROLES:
            name = f"vaultstream-{role} {job.job_no} {login}:77"
            session = await asyncpg.connect(urls[login], server_settings={"application_name": name})
            stack.push_async_callback(session.close)


async def test_a_session_is_a_worker_s_if_its_user_may_do_the_work(
    database: GuardedDatabase, owner: asyncpg.Connection
) -> None:
    job = await add_job(owner, keys=1)
    async with AsyncExitStack() as stack:
        await call_themselves_workers(stack, database.urls, job, "source", "auditor", "operator")
        assert await list_worker_sessions(owner, job.job_no) == []
        await require_idle(owner, job)
        await call_themselves_workers(stack, database.urls, job, *ROLES)
        found = await list_worker_sessions(owner, job.job_no)
        assert [(each.role, each.host) for each in found] == [(role, role) for role in ROLES]
        with pytest.raises(UsageError, match=rf"signing signing:77 \(user {database.logins['signing']}\)"):
            await require_idle(owner, job)


async def test_a_tenant_s_worker_is_none_of_another_tenant_s_job_nor_of_one_without(
    tenants_database: GuardedDatabase,
) -> None:
    logins = [*ROLES, *(f"{role}-{tenant}" for tenant in TENANTS for role in ROLES)]
    async with connect(tenants_database.urls["owner"]) as owner:
        for tenant, suffix in ((SHOP, f"-{SHOP}"), (None, "")):
            job = await add_job(owner, tenant=tenant)
            async with AsyncExitStack() as stack:
                await call_themselves_workers(stack, tenants_database.urls, job, *logins)
                found = await list_worker_sessions(owner, job.job_no)
            await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
            assert [(each.role, each.host) for each in found] == [(role, f"{role}{suffix}") for role in ROLES]
