"""What a tenant keeps from happening by objects of its own, such as temporary views, over tables of others."""

from __future__ import annotations

import pytest

from support.as_user import connect
from support.engine import add_job
from support.guarded import GuardedDatabase
from support.guarded_fixtures import TENANTS

pytestmark = pytest.mark.integration

SHOP, BANK = TENANTS
INSERTED = (
    "vaultstream.insert_signatures_{no}(null::bigint[], null::bigint[], 1, ''::bytea, null::int[], null::int[], "
    "null::timestamptz[], null::int[], null::int[], null::int[], null::boolean[], false)"
)


async def test_no_object_over_the_signatures_of_a_job_holds_up_its_deletion(
    tenants_database: GuardedDatabase,
) -> None:
    """Whoever may use the schema can make one, also without a right to read what is in it."""
    async with connect(tenants_database.urls["owner"]) as owner:
        job = await add_job(owner, tenant=BANK)
        async with connect(tenants_database.urls[f"signing-{SHOP}"]) as shop:
            await shop.execute(f"CREATE TEMPORARY VIEW mine AS SELECT * FROM {job.signatures_table}")
            await shop.execute(
                "CREATE FUNCTION pg_temp.mine() RETURNS bigint BEGIN ATOMIC "
                f"SELECT {INSERTED.format(no=job.job_no)}; END"
            )
            async with connect(tenants_database.urls["operator"]) as operator:
                await operator.execute("SELECT vaultstream.delete_job($1, 'Delete')", job.job_no)
        assert await owner.fetchval("SELECT to_regclass($1)", job.signatures_table) is None
