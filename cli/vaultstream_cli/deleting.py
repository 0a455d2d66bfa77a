"""Deletes a job for `delete` and `cancel`: asks first, seals the deletion, and says what is kept."""

from __future__ import annotations

import asyncio
import signal
import sys
from enum import StrEnum
from typing import TYPE_CHECKING

import asyncpg

from vaultstream.errors import Interrupted, UsageError, VaultStreamError
from vaultstream.local.deletion import delete_everywhere, is_sealed, seal_deletion
from vaultstream.plurals import counted
from vaultstream.settings import seal_key_file, seals_dir
from vaultstream_cli.output import confirm, note, print_object

if TYPE_CHECKING:
    from vaultstream.local.session import Session
    from vaultstream.store.jobs import Job


class Policy(StrEnum):
    """What of a job is kept; see `functions/delete_job.sql`."""

    RETAIN = "Retain"
    DELETE = "Delete"


async def delete_job_sealed(session: Session, job: Job, policy: Policy, *, force: bool = False) -> bool:
    """Deletes a job, and seals that before its row goes; returns whether its messages were removed."""
    cleared = True
    async with session.pool.acquire() as connection:
        sealed = await is_sealed(connection, job)
    if (sealed or policy is Policy.RETAIN) and job.deleted_at is None:
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


def confirmed(job: Job, policy: Policy, signed: int, *, verb: str = "Delete") -> bool:
    """Asks on a terminal whether to delete a job; returns the answer. Without a terminal, only losing signatures needs more.

    Raises:
        UsageError: signatures would be lost, and nobody can be asked.
        Interrupted: SIGTERM or SIGHUP while it asks.
    """
    if not sys.stdin.isatty():
        if policy is Policy.RETAIN:
            return True
        raise UsageError(
            f"Deleting job {job.name} and its {counted(signed, 'signature')} needs --yes without a terminal to confirm on.",
            hint="Add --yes."
            if verb == "Cancel"
            else "Add --yes, or --policy Retain to keep the signatures.",
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
    return confirm(f"{verb} job {job.name} {what}? Its private keys are destroyed.")


def _interrupt(*_: object) -> None:
    raise Interrupted("Interrupted; nothing was deleted.")


def report_deleted(
    job: Job, policy: Policy, signed: int, *, cleared: bool, as_json: bool, done: str = "deleted"
) -> None:
    """Prints what was deleted and what is kept.

    Args:
        job: the job as it was.
        policy: of its deletion.
        signed: number of its signatures.
        cleared: whether its messages were removed.
        as_json: whether an object is printed.
        done: what was done, in a word.
    """
    if not cleared:
        note(
            "NATS is unreachable: the job's keys and batches stay in JetStream; `vaultstream doctor` lists them."
        )
    if as_json:
        print_object({"job": job.name, "token": job.token, "policy": policy, "signatures": signed})
    elif policy is Policy.RETAIN:
        note(
            f"Job {job.name} {done}. Kept: {counted(signed, 'signature')}, its dead letters, lease history and public keys, "
            f"under token {job.token}; `vaultstream verify {job.token}` verifies them."
        )
    else:
        note(
            f"Job {job.name} and its {counted(signed, 'signature')} deleted. The records in {job.spec.records.table} are kept."
        )
