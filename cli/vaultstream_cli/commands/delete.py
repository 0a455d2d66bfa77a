"""`vaultstream delete`."""

from __future__ import annotations

import asyncio
import signal
import sys
from enum import StrEnum
from typing import Annotated

import asyncpg
import typer

from vaultstream.errors import ExitCode, Interrupted, UsageError, VaultStreamError
from vaultstream.local.deletion import delete_everywhere, is_sealed, require_idle, seal_deletion
from vaultstream.local.session import Session, open_session
from vaultstream.plurals import counted
from vaultstream.settings import Settings, seal_key_file, seals_dir
from vaultstream.store.jobs import Job
from vaultstream.store.progress import read_job
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import confirm, note, print_json


class Policy(StrEnum):
    RETAIN = "Retain"
    DELETE = "Delete"


@command(app, "delete", part="operator")
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
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Skip the confirmation prompt.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Delete even while the job's workers are connected or NATS is unreachable."
        ),
    ] = False,
    json: Json = False,
) -> ExitCode:
    """Delete a job permanently and free its name. Its private keys are always deleted; source records are never deleted.

    On a terminal it asks first. Without a terminal, only the policy Delete needs --yes, because it can't be undone. What
    Retain keeps is found by the job's token, and `delete TOKEN --policy Delete` deletes it too.
    """
    async with open_session(settings, existing=True) as session:
        async with session.pool.acquire() as connection:
            snapshot = await read_job(connection, job)
            found, signed = snapshot.job, snapshot.progress.signed
            if not force:
                await require_idle(connection, found)
        chosen = policy or Policy(found.spec.deletion_policy)
        if found.deleted_at is not None and chosen is Policy.RETAIN:
            raise UsageError(
                f"Job {found.name} was already deleted, and its signatures were retained.",
                hint=f"`vaultstream delete {found.token} --policy Delete` deletes the signatures too.",
            )
        if not yes and not _confirmed(found, chosen, signed):
            note("Nothing was deleted.")
            return ExitCode.FAILURE
        cleared = await _delete(session, found, chosen, force=force)
    if not cleared:
        note(
            "NATS is unreachable: the job's keys and batches stay in JetStream; `vaultstream doctor` lists them."
        )
    if json:
        print_json({"job": found.name, "token": found.token, "policy": chosen, "signatures": signed})
    elif chosen is Policy.RETAIN:
        note(
            f"Job {found.name} deleted. Kept: {counted(signed, 'signature')}, its dead letters, lease history and public keys, "
            f"under token {found.token}; `vaultstream verify {found.token}` verifies them."
        )
    else:
        note(
            f"Job {found.name} and its {counted(signed, 'signature')} deleted. The records in {found.spec.records.table} are kept."
        )
    return ExitCode.OK


async def _delete(session: Session, job: Job, policy: Policy, *, force: bool) -> bool:
    """Deletes a job, and seals that before its row goes; returns whether its messages were removed."""
    cleared = True
    async with session.pool.acquire() as connection:
        sealed = job.deleted_at is None and await is_sealed(connection, job)
    if sealed or policy is Policy.RETAIN:
        cleared = await delete_everywhere(
            session.services, session.pool, job, policy=Policy.RETAIN, force=force
        )
    if sealed:
        try:
            async with session.pool.acquire() as connection:
                await seal_deletion(
                    connection,
                    job,
                    key_file=seal_key_file(session.settings),
                    folder=seals_dir(session.settings),
                )
        except (VaultStreamError, OSError, asyncpg.PostgresError) as error:
            note(
                f"No seal says that job {job.name} was deleted, so once its rows are gone, `verify` reports it as lost: {error}"
            )
    if policy is Policy.DELETE:
        cleared = await delete_everywhere(session.services, session.pool, job, policy=policy, force=force)
    return cleared


def _confirmed(job: Job, policy: Policy, signed: int) -> bool:
    if not sys.stdin.isatty():
        if policy is Policy.RETAIN:
            return True
        raise UsageError(
            f"Deleting job {job.name} and its {counted(signed, 'signature')} needs --yes without a terminal to confirm on.",
            hint="Add --yes, or --policy Retain to keep the signatures.",
        )
    what = (
        "and keep its signatures"
        if policy is Policy.RETAIN
        else f"and its {counted(signed, 'signature')} permanently"
    )
    # The prompt blocks the event loop, whose handlers would never see a signal.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().remove_signal_handler(number)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    return confirm(f"Delete job {job.name} {what}? Its private keys are destroyed.")


def _interrupt(*_: object) -> None:
    raise Interrupted("Interrupted; nothing was deleted.")
