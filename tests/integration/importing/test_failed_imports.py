"""A failed import leaves no trace: neither a row nor a table."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from support.as_user import connect
from support.importing import load, rejected, relations, rows
from vaultstream.errors import DatabaseError, ImportFileError
from vaultstream.importing import ImportOptions, Mode, import_records

if TYPE_CHECKING:
    from vaultstream.importing.loader import ImportProgress

pytestmark = pytest.mark.integration


class TestNothingIsHalfLoaded:
    @pytest.mark.parametrize("mode", list(Mode))
    async def test_after_too_many_rejects(self, db: asyncpg.Connection, tmp_path: Path, mode: Mode) -> None:
        path = tmp_path / "in.csv"
        if mode is not Mode.CREATE:
            await load(db, path, "id,p\n1,a\n", payload_column="p")
        before = await relations(db)
        with pytest.raises(
            ImportFileError, match=r"2 of 4 lines can't be imported, so nothing was loaded: line 3 has no id"
        ):
            await load(db, path, "id,p\n5,a\n,b\n6,c\n5,d\n", payload_column="p", mode=mode, max_rejects=1)
        assert await relations(db) == before
        assert len(rejected(path)) == 2
        if mode is not Mode.CREATE:
            assert await rows(db) == [(1, "a")]

    async def test_of_a_file_whose_every_line_is_bad(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        with pytest.raises(ImportFileError, match="2 of 2 lines"):
            await load(db, tmp_path / "in.csv", "id,p\n,a\n,b\n", max_rejects=10)
        assert await relations(db) == set()

    async def test_of_a_file_that_ends_in_damage(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        body = "".join(f"{n},{'x' * 100}\n" for n in range(50_000))
        with pytest.raises(ImportFileError, match="begins on line 50002"):
            await load(db, tmp_path / "in.csv", f'id,p\n{body}7,"never closed\n')
        assert await relations(db) == set()
        assert (await load(db, tmp_path / "in.csv", "id,p\n1,a\n")).rows == 1  # the connection is still good

    @pytest.mark.parametrize("id_column", ["id", "number"])
    @pytest.mark.parametrize("after", [1, 3, 6])
    async def test_when_postgres_cuts_the_connection(
        self, after: int, id_column: str, db: asyncpg.Connection, database_url: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "in.csv"
        path.write_text("id,p\n" + "".join(f"{n},{'x' * 100}\n" for n in range(100_000)), "utf-8")
        cut: list[asyncio.Task[object]] = []
        async with connect(database_url) as doomed:
            pid = doomed.get_server_pid()

            def strike(progress: ImportProgress) -> None:
                if not cut and progress.rows >= after * 8192:
                    cut.append(asyncio.create_task(db.execute("SELECT pg_terminate_backend($1, 10000)", pid)))

            with pytest.raises(DatabaseError, match="nothing was loaded"):
                await import_records(doomed, path, ImportOptions(table="t", id_column=id_column), strike)
            await cut[0]
        assert await relations(db) == set()

    async def test_when_it_is_cancelled(self, db: asyncpg.Connection, tmp_path: Path) -> None:
        path = tmp_path / "in.csv"
        path.write_text("id,p\n" + "".join(f"{n},{'x' * 100}\n" for n in range(100_000)), "utf-8")
        task: asyncio.Task[object]

        def strike(_: ImportProgress) -> None:
            task.cancel()

        task = asyncio.create_task(import_records(db, path, ImportOptions(table="t", id_column="id"), strike))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await relations(db) == set()
        assert await db.fetchval("SELECT 1") == 1

    @pytest.mark.parametrize("mode", [Mode.CREATE, Mode.REPLACE])
    async def test_when_the_process_is_killed(
        self, db: asyncpg.Connection, database_url: str, tmp_path: Path, mode: Mode
    ) -> None:
        path = tmp_path / "in.csv"
        if mode is Mode.REPLACE:
            await load(db, path, "id,p\n1,a\n", payload_column="p")
        before = await relations(db)
        path.write_text("id,p\n" + "".join(f"{n},{'x' * 100}\n" for n in range(200_000)), "utf-8")
        script = (
            "import asyncio, sys, pathlib\n"
            "from vaultstream.importing import ImportOptions, Mode, import_records\n"
            "from vaultstream.store.database import connect\n"
            "async def main():\n"
            "    async with connect(sys.argv[1]) as connection:\n"
            "        options = ImportOptions(table='t', id_column='id', payload_column='p', mode=Mode(sys.argv[3]))\n"
            "        await import_records(connection, pathlib.Path(sys.argv[2]), options,\n"
            "                             lambda p: print(connection.get_server_pid(), flush=True))\n"
            "asyncio.run(main())\n"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, database_url, str(path), mode, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        pid = int(await process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await db.execute("SELECT pg_terminate_backend($1, 30000)", pid)  # returns once its session is gone
        assert await relations(db) == before
        if mode is Mode.REPLACE:
            assert await rows(db) == [(1, "a")]
