"""What a tenant learns of the values of others from the estimates of Postgres: row security does not hide statistics."""

from __future__ import annotations

import asyncpg
import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS
WITHOUT_VALUES = {"action", "algorithm", "id_type", "kind", "outcome", "reason", "state"}
"""Columns of text that have one of a few words."""


async def test_nothing_is_kept_of_columns_that_have_values(tenants_database: GuardedDatabase) -> None:
    async with connect(tenants_database.urls["owner"]) as owner:
        job = await add_job(owner, keys=2, tenant=BANK)
        await owner.execute(
            f"INSERT INTO {job.signatures_table} SELECT n, 1, 1, now(), '', '' FROM generate_series(1, 9) n"
        )
        await owner.execute(
            "INSERT INTO vaultstream.key_material SELECT key_no, 1, 'k', 'wrapped' FROM vaultstream.keys WHERE job_no = $1",
            job.job_no,
        )
        try:
            tables = await owner.fetch(
                "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'vaultstream'::regnamespace AND relkind = 'r'"
            )
            for [table] in tables:
                await owner.execute(f"ANALYZE {table}")
            kept = await owner.fetch(
                "SELECT s.tablename, s.attname FROM pg_stats s JOIN pg_attribute a "
                "ON a.attrelid = format('vaultstream.%I', s.tablename)::regclass AND a.attname = s.attname "
                "WHERE s.schemaname = 'vaultstream' AND (a.atttypid = ANY ('{text,bytea,jsonb,text[]}'::regtype[]) "
                "OR a.attname = 'record_id')"
            )
            others = await owner.fetchval(
                "SELECT count(*) FROM pg_stats WHERE schemaname = 'vaultstream' AND attname = 'job_no'"
            )
        finally:
            await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
    assert {tuple(row) for row in kept if row["attname"] not in WITHOUT_VALUES} == set()
    assert others


async def test_an_estimate_tells_a_tenant_no_value_of_another(tenants_database: GuardedDatabase) -> None:
    async with connect(tenants_database.urls["owner"]) as owner:
        job = await add_job(owner, tenant=BANK)
        await owner.execute(
            "INSERT INTO vaultstream.dead_letters (job_no, record_id, batch_no, reason, message) "
            "SELECT $1, 'customer-' || n, 1, 'RecordGone', 'gone' FROM generate_series(1000, 4999) AS n",
            job.job_no,
        )
        await owner.execute("ANALYZE vaultstream.dead_letters")
        async with connect(tenants_database.urls[f"auditor-{SHOP}"]) as auditor:
            estimates = [
                await estimate(auditor, f"SELECT FROM vaultstream.dead_letters WHERE record_id {condition}")
                for condition in ("< 'customer-2'", "< 'customer-4'", "< 'z'", "> 'z'")
            ]
        await owner.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
    assert len(set(estimates)) == 1, estimates


async def estimate(connection: asyncpg.Connection, query: str) -> str:
    [[line], *_] = await connection.fetch(f"EXPLAIN {query}")
    return str(line)
