"""`vaultstream delete`."""

from __future__ import annotations

import asyncio
import signal
import sys
from enum import StrEnum
from typing import Annotated

import typer

from vaultstream.errors import ExitCode, UsageError
from vaultstream.local.deletion import delete_everywhere, require_idle
from vaultstream.settings import Settings
from vaultstream.store.jobs import Job, get_job, get_progress
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json
from vaultstream_cli.session import open_session


class Policy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


@command(app, "delete")
async def delete(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token.")],
    policy: Annotated[
        Policy | None,
        typer.Option(
            "--policy",
            help="Retain keeps signatures, dead letters, lease history and public keys; Delete keeps nothing. "
            "[default: the job's spec.deletionPolicy]",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also while its workers are connected, or with NATS away.")
    ] = False,
    json: Json = False,
) -> ExitCode:
    """Delete a job for good; its name is free again. Its private keys go in any case, the records themselves never.

    Asks first on a terminal. Without one, --yes is needed only for the policy Delete, which can't be undone by anyone. What
    Retain keeps is found by the job's token, and deleted by `delete TOKEN --policy Delete`.
    """
    async with open_session(settings) as session:
        async with session.pool.acquire() as connection:
            found = await get_job(connection, job)
            signed = (await get_progress(connection, found.job_no)).signed
            if not force:
                await require_idle(connection, found)
        chosen = policy or Policy(found.spec.deletion_policy)
        if found.deleted_at is not None and chosen is Policy.RETAIN:
            raise UsageError(
                f"Job {found.name} was deleted already, and its signatures retained.",
                hint=f"`vaultstream delete {found.token} --policy Delete` deletes those too.",
            )
        if not yes and not _confirmed(found, chosen, signed):
            note("Nothing was deleted.")
            return ExitCode.FAILURE
        cleared = await delete_everywhere(session.services, session.pool, found, policy=chosen, force=force)
    if not cleared:
        note("NATS does not answer: what it has of the job stays there; `vaultstream doctor` names it.")
    if json:
        print_json({"job": found.name, "token": found.token, "policy": chosen, "signatures": signed})
    elif chosen is Policy.RETAIN:
        note(
            f"Job {found.name} deleted. Kept: {signed:,} signatures, its dead letters, lease history and public keys, "
            f"under the token {found.token}; `vaultstream verify {found.token}` checks them."
        )
    else:
        note(
            f"Job {found.name} deleted, with {signed:,} signatures. The records in {found.spec.records.table} stay."
        )
    return ExitCode.OK


def _confirmed(job: Job, policy: Policy, signed: int) -> bool:
    if not sys.stdin.isatty():
        if policy is Policy.RETAIN:
            return True
        raise UsageError(
            f"Deleting job {job.name} with its {signed:,} signatures needs --yes where there is no terminal to ask at.",
            hint="Add --yes, or --policy Retain to keep the signatures.",
        )
    what = (
        "and keep its signatures" if policy is Policy.RETAIN else f"and its {signed:,} signatures, for good"
    )
    # The prompt blocks the event loop, which would then never see a Ctrl-C.
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
    try:
        return typer.confirm(f"Delete job {job.name} {what}?", err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False
