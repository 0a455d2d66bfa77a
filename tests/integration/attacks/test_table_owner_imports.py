"""The owner of a table that somebody else adds to with `vaultstream import --append`: his code runs with nobody's privileges."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from support.guarded import GuardedDatabase
from support.merchant import Merchant
from vaultstream.errors import SourceError
from vaultstream.importing import ImportOptions, ImportReport, Mode, import_records, target

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

STEAL = """
CREATE FUNCTION {schema}.steal() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN
    INSERT INTO {schema}.loot SELECT token FROM vaultstream.jobs UNION ALL SELECT current_user; RETURN NEW;
END $f$;
CREATE FUNCTION {schema}.leak(anything anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN
    INSERT INTO {schema}.loot VALUES (current_user); RETURN true;
END $f$;
"""
PLAIN = "CREATE TABLE {schema}.inbox (id bigint PRIMARY KEY, payload text NOT NULL)"

TRAPS = {
    "a trigger": (
        PLAIN,
        "CREATE TRIGGER trap BEFORE INSERT ON {schema}.inbox FOR EACH ROW EXECUTE FUNCTION {schema}.steal()",
    ),
    "a trigger per statement": (
        PLAIN,
        "CREATE TRIGGER trap AFTER INSERT ON {schema}.inbox EXECUTE FUNCTION {schema}.steal()",
    ),
    "a rule": (
        PLAIN,
        "CREATE RULE trap AS ON INSERT TO {schema}.inbox DO ALSO INSERT INTO {schema}.loot VALUES (current_user)",
    ),
    "a policy": (
        PLAIN,
        """
        ALTER TABLE {schema}.inbox ENABLE ROW LEVEL SECURITY;
        CREATE POLICY trap ON {schema}.inbox USING ({schema}.leak(id)) WITH CHECK ({schema}.leak(id))
        """,
    ),
    "a constraint": (PLAIN, "ALTER TABLE {schema}.inbox ADD CHECK ({schema}.leak(payload))"),
    "an index of an expression": (PLAIN, "CREATE INDEX ON {schema}.inbox ({schema}.leak(payload))"),
    "an index of a part": (PLAIN, "CREATE INDEX ON {schema}.inbox (id) WHERE {schema}.leak(payload)"),
    "a domain": (
        "CREATE DOMAIN {schema}.word AS text CHECK ({schema}.leak(VALUE))",
        "CREATE TABLE {schema}.inbox (id bigint PRIMARY KEY, payload {schema}.word NOT NULL)",
    ),
    "a partition": (
        "CREATE TABLE {schema}.all (id bigint, payload text) PARTITION BY LIST (({schema}.leak(payload)))",
        "CREATE TABLE {schema}.inbox PARTITION OF {schema}.all (PRIMARY KEY (id)) FOR VALUES IN (true)",
    ),
}


async def grant(merchant: Merchant, database: GuardedDatabase) -> None:
    login = database.logins["owner"]
    await merchant.execute(f"GRANT USAGE ON SCHEMA {{schema}} TO {login}")
    await merchant.execute(f"GRANT SELECT, INSERT, UPDATE ON {{schema}}.inbox TO {login}")


async def add(
    owner: asyncpg.Connection, table: str, folder: Path, *, ids: bool = True, mode: Mode = Mode.APPEND
) -> ImportReport:
    file = folder / "in.csv"
    file.write_text("id,payload\n1,one\n2,two\n" if ids else "payload\none\ntwo\n")
    options = ImportOptions(table=table, id_column="id", payload_column="payload", mode=mode)
    return await import_records(owner, file, options)


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("what", TRAPS)
async def test_an_import_runs_no_code_of_the_owner_of_a_table(  # noqa: PLR0917 - fixtures
    merchant: Merchant,
    owner: asyncpg.Connection,
    database: GuardedDatabase,
    tmp_path: Path,
    what: str,
    ids: bool,
) -> None:
    await merchant.execute(STEAL)
    for statement in TRAPS[what]:
        await merchant.execute(statement)
    await grant(merchant, database)
    with pytest.raises(SourceError, match="could run code of somebody else") as caught:
        await add(owner, f"{merchant.schema}.inbox", tmp_path, ids=ids)
    assert f"{merchant.schema}.inbox" in caught.value.message
    assert "owner" in (caught.value.hint or "")
    assert await merchant.connection.fetchval(f"SELECT count(*) FROM {merchant.schema}.loot") == 0


async def test_a_plain_table_of_somebody_else_is_added_to(
    merchant: Merchant, owner: asyncpg.Connection, database: GuardedDatabase, tmp_path: Path
) -> None:
    await merchant.execute("CREATE TABLE {schema}.shops (id bigint PRIMARY KEY)")
    await merchant.execute("INSERT INTO {schema}.shops VALUES (1), (2)")
    await merchant.execute(PLAIN)
    await merchant.execute("ALTER TABLE {schema}.inbox ADD FOREIGN KEY (id) REFERENCES {schema}.shops")
    await grant(merchant, database)
    assert (await add(owner, f"{merchant.schema}.inbox", tmp_path)).rows == 2


async def test_a_table_of_ones_own_runs_its_own_triggers_but_no_function_of_somebody_else(
    merchant: Merchant, owner: asyncpg.Connection, database: GuardedDatabase, tmp_path: Path
) -> None:
    await merchant.execute(STEAL)
    await merchant.execute(f"GRANT USAGE ON SCHEMA {{schema}} TO {database.logins['owner']}")
    await owner.execute(
        f"CREATE TABLE public.mine (id bigint PRIMARY KEY, payload text CHECK (payload <> '')); "
        "CREATE TRIGGER alike BEFORE UPDATE ON public.mine FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); "
        f"GRANT TRIGGER ON public.mine TO {merchant.login}"
    )
    try:
        assert (await add(owner, "public.mine", tmp_path)).rows == 2
        await merchant.execute(
            "CREATE TRIGGER trap BEFORE INSERT ON public.mine FOR EACH ROW EXECUTE FUNCTION {schema}.steal()"
        )
        with pytest.raises(SourceError, match="the trigger trap"):
            await add(owner, "public.mine", tmp_path, ids=False)
    finally:
        await owner.execute("DROP TABLE public.mine")


async def test_a_table_that_takes_the_name_while_it_is_looked_up_gets_no_rows(
    merchant: Merchant,
    owner: asyncpg.Connection,
    database: GuardedDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await merchant.execute(STEAL + PLAIN)
    await grant(merchant, database)
    await owner.execute(f"GRANT CREATE ON DATABASE {database.name} TO {merchant.login}")
    find = target.narrow_ids

    async def swap(*arguments: object) -> None:
        await find(*arguments)  # type: ignore[arg-type]
        await merchant.execute(f"ALTER SCHEMA {{schema}} RENAME TO {merchant.schema}_away")
        await merchant.execute("ALTER SCHEMA {schema}_2 RENAME TO {schema}")
        await merchant.execute(PLAIN)
        await grant(merchant, database)

    monkeypatch.setattr("vaultstream.importing.loader.narrow_ids", swap)
    with pytest.raises(SourceError, match="was altered while rows were loaded"):
        await add(owner, f"{merchant.schema}.inbox", tmp_path)
    assert await merchant.connection.fetchval(f"SELECT count(*) FROM {merchant.schema}.inbox") == 0


async def test_the_privileges_that_an_import_asks_for_are_enough(
    merchant: Merchant, owner: asyncpg.Connection, database: GuardedDatabase, tmp_path: Path
) -> None:
    await merchant.execute(PLAIN)
    login = database.logins["owner"]
    await merchant.execute(f"GRANT USAGE ON SCHEMA {{schema}} TO {login}")
    with pytest.raises(SourceError, match="may not add") as caught:
        await add(owner, f"{merchant.schema}.inbox", tmp_path)
    asked = (caught.value.hint or "").partition("run: ")[2].rstrip(".")
    assert asked.startswith("GRANT SELECT, INSERT, ")
    await merchant.connection.execute(asked.replace("the user of DATABASE_URL", login))
    assert (await add(owner, f"{merchant.schema}.inbox", tmp_path)).rows == 2


async def test_a_table_that_takes_the_name_while_rows_are_loaded_is_not_replaced(
    merchant: Merchant,
    owner: asyncpg.Connection,
    database: GuardedDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin = await asyncpg.connect(database.admin_url)
    name = f"{merchant.schema}.inbox"
    await admin.execute(f"GRANT {merchant.login} TO {database.logins['owner']}")
    await merchant.execute(PLAIN)
    load = target.narrow_ids

    async def swap(*arguments: object) -> None:
        await load(*arguments)  # type: ignore[arg-type]
        await merchant.execute("ALTER TABLE {schema}.inbox RENAME TO former")
        await merchant.execute(PLAIN)
        await merchant.execute("INSERT INTO {schema}.inbox VALUES (7, 'seven')")

    monkeypatch.setattr("vaultstream.importing.loader.narrow_ids", swap)
    try:
        with pytest.raises(SourceError, match="was altered while rows were loaded"):
            await add(owner, name, tmp_path, mode=Mode.REPLACE)
    finally:
        await admin.execute(f"REVOKE {merchant.login} FROM {database.logins['owner']}")
        await admin.close()
    assert await merchant.connection.fetchval(f"SELECT id FROM {name}") == 7
