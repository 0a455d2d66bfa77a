"""The database's owner alters one column of one row at a time: verify names it, or the column is listed here as no evidence.

Nothing stands in his way: no trigger, no constraint, no index. He has no key, and nobody has kept a checkpoint.
"""

from __future__ import annotations

import asyncpg
import pytest

from integration.audit.sealed_job import FREE, SealedJob
from vaultstream.errors import VaultStreamError

pytestmark = pytest.mark.integration

NO_EVIDENCE = {
    # Each attestation is verified where it is shown, by the key of the witness or of the authority.
    "attestations": "checkpoint_no kind attester value made_at",
    # Copies for events that outlive their job, and the order in which Postgres got them. Their numbers are sealed.
    "audited_jobs": "job_no token name tenant events",
    "audit_events": "event_no",
    # What work went into a batch. Its records, and its time, are in the statement.
    "batches": "attempts dead error settled_at lost",
    # Which of the checkpoints of a log is the newest, is told from their sizes and notes.
    "checkpoints": "checkpoint_no size made_at",
    # The sealed dead letter has the text, and an event says who cleared it.
    "cleared_dead_letters": "job_no record_id batch_no reason message died_at cleared_at cleared_by",
    # What a worker or the operator has noted.
    "jobs": "owner_uid message created_at started_at finished_at planned_id published_through counted cut splits found risen",
    # Wrapped private keys are authenticated by the key that wraps them.
    "key_material": "key_no version kek_id wrapped",
    # The current lease. Only what was committed under a lease counts, and its key has stated it.
    "keys": "ordinal created_at epoch leased_at lease_until lru login batch_no alone done signed dead",
    # The key has stated the name that the holder gave itself.
    "leases": "login",
    # What the scaling of signers has decided and remembers.
    "decisions": "job_no number at decision",
    "priors": "tenant algorithm batch_size row_bytes resources prior written_at",
    "scaling": "job_no version memory written_at",
    "schema_version": "version works_from applied_at",
}
"""Columns that prove nothing, by their table, and why."""
ROWS = {
    "log_entries": [
        f"kind = '{kind}'"
        for kind in ("statement", "dead-letter", "revocation", "audit-event", "plan", "seal")
    ],
    "logs": ["job_no IS NULL", "job_no IS NOT NULL"],
    "checkpoints": [
        f"log_no = (SELECT log_no FROM vaultstream.logs WHERE {which})"
        for which in ("job_no IS NULL", "job_no IS NOT NULL")
    ],
    "keys": ["state = 'revoked'"],
    "leases": ["outcome = 'committed'"],
}
"""The rows that are altered, the last one of each; of other tables, any."""
OTHER = {
    "bigint": "coalesce({column}, 0) + 100",
    "integer": "coalesce({column}, 0) + 100",
    "oid": "{column}::bigint + 1",
    "text": "coalesce({column}, '') || '0'",
    "boolean": "NOT {column}",
    "bytea": "{column} || '\\x00'",
    "jsonb": "{column} || jsonb_build_object('x', 'y')",
    "ARRAY": "ARRAY['7']",
    "timestamp with time zone": "coalesce({column}, now()) - interval '1 year'",
    "tstzrange": "tstzrange(lower({column}) - interval '1 year', upper({column}) - interval '1 year')",
}
"""Another value, by the type of the column."""
PLAUSIBLE = {
    "log_entries.kind": "CASE kind WHEN 'seal' THEN 'plan' ELSE 'seal' END",
    "log_entries.leaf": "sha256(leaf)",
    "logs.frontier": "sha256(frontier) || substr(frontier, 33)",
    "jobs.state": "'Failed'",
    "jobs.id_type": "'text'",
    "jobs.spec": "jsonb_set(spec, '{{keys,algorithm}}', '\"ED25519\"')",
    "keys.state": "'active'",
    "audit_events.action": "'update'",
    "leases.outcome": "'released'",
    "batches.state": "'split'",
}
"""Values that Postgres has elsewhere."""
TABLES = (
    "audit_events",
    "batches",
    "checkpoints",
    "dead_letters",
    "jobs",
    "keys",
    "leases",
    "log_entries",
    "logs",
    "signatures",
    "statements",
)


async def free(sealed: SealedJob) -> None:
    """Makes rows of all kinds, and removes what guards them."""
    connection = sealed.signed.connection
    await connection.execute(
        "SELECT vaultstream.end_keys(job_no, ARRAY[key_id], 'revoked') FROM vaultstream.keys LIMIT 1"
    )
    await sealed.sealer.seal(sealed.signed)
    await connection.execute(
        """
        INSERT INTO vaultstream.cleared_dead_letters
            SELECT job_no, '3', 1, 'RecordGone', 'gone', now(), now(), 'ann' FROM vaultstream.jobs;
        INSERT INTO vaultstream.key_material SELECT key_no, 1, 'kek', 'x' FROM vaultstream.keys LIMIT 1;
        INSERT INTO vaultstream.attestations
            SELECT checkpoint_no, 'cosignature', 'w', 'x' FROM vaultstream.checkpoints LIMIT 1
        """
    )
    assert (await sealed.verify()).ok
    await connection.execute(FREE)
    for row in await connection.fetch(
        "SELECT conrelid::regclass AS of, conname FROM pg_constraint "
        "WHERE connamespace = 'vaultstream'::regnamespace AND contype IN ('c', 'f')"
    ):
        await connection.execute(f"ALTER TABLE {row['of']} DROP CONSTRAINT {row['conname']}")
    for row in await connection.fetch(
        "SELECT attrelid::regclass AS of, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid "
        "WHERE relnamespace = 'vaultstream'::regnamespace AND attidentity <> ''"
    ):
        await connection.execute(f"ALTER TABLE {row['of']} ALTER {row['attname']} DROP IDENTITY")
    await connection.execute("DROP INDEX vaultstream.log_entries_once")
    await connection.execute("SET session_replication_role = replica")


async def columns_of(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    """Returns the columns of all tables: table, column, type. The table of signatures has the name signatures."""
    return await connection.fetch(
        """
        SELECT regexp_replace(c.table_name, '_[0-9]+$', '') AS of, c.column_name AS named, c.data_type AS typed
        FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)
        WHERE table_schema = 'vaultstream' AND table_type = 'BASE TABLE'
        ORDER BY c.table_name, c.ordinal_position
        """
    )


@pytest.mark.parametrize("table", TABLES)
async def test_each_column_that_is_altered_is_named_or_listed_as_no_evidence(
    sealed: SealedJob, table: str
) -> None:
    await free(sealed)
    connection = sealed.signed.connection
    name = sealed.signed.signatures if table == "signatures" else f"vaultstream.{table}"
    unseen, altered = [], 0
    for _, column, typed in [row for row in await columns_of(connection) if row["of"] == table]:
        if column in NO_EVIDENCE.get(table, "").split():
            continue
        value = PLAUSIBLE.get(f"{table}.{column}", OTHER[typed]).format(column=column)
        every = table != "log_entries" or column in {"kind", "job_no", "body"}
        for rows in ROWS.get(table, ["true"])[:: 1 if every else 2]:
            before = await connection.fetchrow(
                f"SELECT ctid::text AS place, {column} AS value FROM {name} WHERE {rows} ORDER BY ctid DESC LIMIT 1"
            )
            assert before is not None
            after = await connection.fetchval(
                f"UPDATE {name} SET {column} = {value} WHERE ctid = $1::text::tid RETURNING ctid::text",
                before["place"],
            )
            if await looks_right(sealed):
                unseen.append(f"{column} where {rows}")
            altered += 1
            await connection.execute(
                f"UPDATE {name} SET {column} = $1 WHERE ctid = $2::text::tid", before["value"], after
            )
    assert unseen == []
    assert altered >= 3
    assert (await sealed.verify()).ok


async def looks_right(sealed: SealedJob) -> bool:
    try:
        report = await sealed.verify()
    except (VaultStreamError, asyncpg.UndefinedTableError):
        return False
    return bool(report.ok)


async def test_columns_that_are_no_evidence_change_no_verdict(sealed: SealedJob) -> None:
    """So none of them is read as one. A table is in this test or in the other, and what is listed exists."""
    await free(sealed)
    connection = sealed.signed.connection
    columns = await columns_of(connection)
    listed = {(table, column) for table, names in NO_EVIDENCE.items() for column in names.split()}
    assert listed <= {(row["of"], row["named"]) for row in columns}
    assert {row["of"] for row in columns} == {*TABLES, *NO_EVIDENCE}
    for table, column, typed in columns:
        if (table, column) in listed and column != "checkpoint_no" and table != "schema_version":
            value = OTHER[typed].format(column=column)
            await connection.execute(f"UPDATE vaultstream.{table} SET {column} = {value}")
    assert (await sealed.verify()).ok
