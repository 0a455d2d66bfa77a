"""`vaultstream accept-source`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import asyncpg
import typer

from vaultstream.errors import DatabaseError, SourceError, UsageError
from vaultstream.local.session import open_session
from vaultstream.records.source import inspect_source
from vaultstream.settings import Settings
from vaultstream.store.jobs import accept_source, get_job, list_jobs
from vaultstream.store.owned_code import refuse_owned_code
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_object
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job


@command(app, "accept-source", names=("accepted", "job"))
async def accept(
    settings: Settings,
    *,
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Names of the jobs, or their tokens.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All jobs whose table is there.")] = False,
    json: Json = False,
) -> None:
    """Accept the relation that now has the name of a job's table as the one that the job signs.

    A job signs only the table or view that it was created for, even if another one gets its name. After a dump and a restore
    all relations are new to Postgres, and jobs wait until they are accepted. Check that the table is the right one: what is
    signed from now on is signed under the job's keys. Run it as the owner of the schema vaultstream. Nothing is accepted while
    functions or views outside that schema give others its owner's rights, as after a restore that took their owners away.
    """
    if bool(jobs) == every:
        raise UsageError("Give the names of jobs, or --all.")
    async with (
        open_session(settings, pool_size=1, existing=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        accepted = [await _accept(connection, await get_job(connection, name)) for name in jobs or ()]
        for job in await list_jobs(connection, deleted=True) if every else ():
            try:
                accepted.append(await _accept(connection, job))
            except SourceError as error:
                note(f"Job {job.name}: {error.message}")
    if json:
        print_object({"accepted": accepted})
        return
    for entry in accepted:
        what = "accepted" if entry["changed"] else "was accepted before"
        note(f"Job {entry['job']}: {entry['relation']} {what}.")
    if not accepted:
        note("There is no job to accept a table for.")


async def _accept(connection: Connection, job: Job) -> dict[str, object]:
    source = await inspect_source(connection, job.spec.records)
    if source.id_type != job.id_type:
        raise SourceError(
            f"spec.records.idColumn: the ids in {source.relation} have the type {source.id_type}; "
            f"the ids of the job's records have the type {job.id_type}.",
            hint="The relation can't be the one that the job was created for.",
        )
    changed = source.oid != job.source_oid
    if changed:
        await refuse_owned_code(connection, source.oid)
        try:
            await accept_source(connection, job.job_no, source.oid)
        except asyncpg.InsufficientPrivilegeError:
            raise DatabaseError(
                "Only the owner of the schema vaultstream may accept another relation for a job.",
                hint="Run this with that owner's DATABASE_URL.",
            ) from None
    return {"job": job.name, "token": job.token, "relation": source.relation, "changed": changed}
