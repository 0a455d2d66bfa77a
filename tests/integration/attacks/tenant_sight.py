"""What logins of tenants see of jobs: by table, each read alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from support.as_user import connect
from support.engine import claim_one
from vaultstream.store.jobs import Job
from vaultstream.store.leases import release_leases

if TYPE_CHECKING:
    import asyncpg

    from support.guarded import GuardedDatabase

ANN = "ann"


class Jobs(NamedTuple):
    """A job of each tenant and one of none; each has two keys with material, two pending batches and a dead letter."""

    shop: Job
    bank: Job
    free: Job


READ = {
    "jobs": "SELECT DISTINCT job_no FROM vaultstream.jobs",
    "keys": "SELECT DISTINCT job_no FROM vaultstream.keys",
    "key_material": "SELECT key_no FROM vaultstream.key_material",
    "batches": "SELECT DISTINCT job_no FROM vaultstream.batches",
    "leases": "SELECT key_no FROM vaultstream.leases",
    "dead_letters": "SELECT DISTINCT job_no FROM vaultstream.dead_letters",
    "cleared_dead_letters": "SELECT DISTINCT job_no FROM vaultstream.cleared_dead_letters",
    "statements": "SELECT DISTINCT job_no FROM vaultstream.statements",
    "logs": "SELECT DISTINCT job_no FROM vaultstream.logs",
    "log_entries": "SELECT DISTINCT job_no FROM vaultstream.log_entries",
    "checkpoints": "SELECT DISTINCT job_no FROM vaultstream.checkpoints JOIN vaultstream.logs USING (log_no)",
    "audit_events": "SELECT DISTINCT job_no FROM vaultstream.audit_events JOIN vaultstream.jobs USING (job_no)",
    "audited_jobs": "SELECT job_no FROM vaultstream.audited_jobs JOIN vaultstream.jobs USING (job_no)",
    "attestations": "SELECT DISTINCT job_no FROM vaultstream.attestations JOIN vaultstream.checkpoints USING (checkpoint_no) "
    "JOIN vaultstream.logs USING (log_no)",
}
LOGS = ("logs", "log_entries", "checkpoints", "attestations")
EVENTS = ("audit_events", "audited_jobs")
READABLE = {
    "keys": ("jobs", "keys", "key_material", "leases"),
    "records": (
        "jobs",
        "batches",
        "keys",
        "dead_letters",
        "cleared_dead_letters",
        "statements",
        *LOGS,
        *EVENTS,
    ),
    "signing": ("jobs", "keys", "key_material"),
    "auditor": (
        *("jobs", "keys", "batches", "leases", "dead_letters", "cleared_dead_letters", "statements"),
        *LOGS,
        *EVENTS,
    ),
    "operator": ("jobs", "keys", "batches", "dead_letters", "logs", "checkpoints"),
}


async def end_a_lease_of_each(owner: asyncpg.Connection, jobs: Jobs) -> None:
    for job in jobs:
        lease = await claim_one(owner, job, ANN, 1)
        await release_leases(owner, ANN, [lease])


async def seen_by(database: GuardedDatabase, owner: asyncpg.Connection, login: str) -> dict[str, set[int]]:
    """The jobs of which a login sees something, by table. Each table is read alone, so that none is hidden by another.

    Logs of former tests stay, and are left out.
    """
    present = {row["job_no"] for row in await owner.fetch("SELECT job_no FROM vaultstream.jobs")}
    jobs_of_keys = {
        row["key_no"]: row["job_no"]
        for row in await owner.fetch("SELECT key_no, job_no FROM vaultstream.keys")
    }
    async with connect(database.urls[login]) as connection:
        return {
            table: {
                row.get("job_no") or jobs_of_keys[row["key_no"]]
                for row in await connection.fetch(READ[table])
            }
            & present
            for table in READABLE[login.partition("-")[0]]
        }


def only(job: Job, part: str) -> dict[str, set[int]]:
    return {table: {job.job_no} for table in READABLE[part]}
