"""`vaultstream log`: the logs of what was signed and sealed, and their checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.audit.seals.log_history import LogReport, examine_log, open_kept
from vaultstream.audit.seals.seal_trust import read_kept
from vaultstream.crypto.seal_keys import load_seal_keys, parse_verifier_keys
from vaultstream.errors import AuditError, UnknownJobError, UsageError
from vaultstream.local.services import require_place
from vaultstream.local.session import open_session
from vaultstream.plurals import counted
from vaultstream.proof.checkpoint import open_checkpoint
from vaultstream.role import WorkerRole
from vaultstream.sealing.since import seal_since
from vaultstream.settings import Settings, seal_key_file, seals_dir
from vaultstream.store.audit_events import get_audited_job
from vaultstream.store.jobs import get_job
from vaultstream.store.logs import find_job_log, find_log, newest_checkpoint
from vaultstream_cli.app import JobName, Json, command
from vaultstream_cli.output import note, print_file, print_line, print_object
from vaultstream_cli.root import app
from vaultstream_cli.unknown_jobs import explaining_unknown

if TYPE_CHECKING:
    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.proof.note import NoteKey
    from vaultstream.store.audit_events import AuditedJob
    from vaultstream.store.database import Connection
    from vaultstream.store.jobs import Job
    from vaultstream.store.logs import Log

group = typer.Typer(
    help="Show and verify the logs of what was signed and sealed, whose checkpoints the seal key signs.",
    no_args_is_help=True,
)
app.add_typer(group, name="log")

SHOWN_FINDINGS = 50

SealKey = Annotated[
    list[str] | None,
    typer.Option(
        "--seal-key",
        metavar="KEY",
        help="Verifier key that may have signed, or a file with one on each line, kept from `vaultstream log key`. Can be "
        "repeated. [default: the keys in the file of the seal key]",
    ),
]


def known_keys(settings: Settings, seal_key: list[str] | None) -> tuple[NoteKey, ...]:
    """Returns the verifier keys that a user trusts.

    Raises:
        CustodyError: none is given, and the file of the seal key can't be used.
        UsageError: what is given is no verifier key, or none is given and nothing was ever created.
    """
    if seal_key:
        return parse_verifier_keys(*seal_key)
    return _own_keys(settings).known


def _own_keys(settings: Settings) -> SealKeys:
    """Returns the keys of the installation. Where nothing was ever created, no file of keys is what is missing first."""
    path = seal_key_file(settings)
    if settings.database_url is None and settings.seal_key_file is None and not os.path.lexists(path):
        require_place(settings.data_dir)
    return load_seal_keys(path)


@command(group, "key")
async def key(settings: Settings, *, json: Json = False) -> None:
    """Print the verifier keys of the seal key and of those before it, newest first, one on each line.

    They are no secrets. Give them to those who check your proofs, by another way than the proofs. Reads the file of the seal key
    (VAULTSTREAM_SEAL_KEY_FILE), and no database.
    """
    keys = _own_keys(settings)
    if json:
        print_object({"origin": keys.origin, "keys": [each.vkey for each in keys.known]})
        return
    for each in keys.known:
        print_line(each.vkey)


@command(group, "checkpoint", names=("origin",))
async def checkpoint(
    settings: Settings,
    *,
    job: Annotated[
        str | None, typer.Argument(help="Name or token of a job, for the checkpoint of its own log.")
    ] = None,
    tenant: Annotated[
        str | None, typer.Option("--tenant", metavar="NAMESPACE", help="Print that of a tenant's log.")
    ] = None,
    seal_key: SealKey = None,
    json: Json = False,
) -> None:
    """Print the newest signed checkpoint of the log of plans and seals, or of a job's log.

    Keep it outside of the database: `log verify --since` compares the log with it later. Refused, with exit code 4, if no known
    key has signed it.
    """
    if job is not None and tenant is not None:
        raise UsageError("--tenant is for the log of seals, and a job is named.", hint="Give one of both.")
    keys = known_keys(settings, seal_key)
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = await _find(connection, keys[0].name, job, tenant)
        newest = await newest_checkpoint(connection, found)
    if newest is None:
        raise _nothing_sealed(f"The log {found.origin!r} has no checkpoint yet.")
    opened = open_checkpoint(newest.note, keys, origin=found.origin)
    if json:
        head = opened.checkpoint
        print_object(
            {
                "origin": head.origin,
                "size": head.size,
                "made_at": newest.made_at,
                "checkpoint": newest.note.decode(),
            }
        )
    else:
        print_file(newest.note.decode())


@command(group, "verify")
async def verify_log(
    settings: Settings,
    *,
    since: Annotated[
        Path,
        typer.Option(
            "--since", metavar="FILE", help="An older checkpoint of the same log, from `log checkpoint`."
        ),
    ],
    seal_key: SealKey = None,
    json: Json = False,
) -> None:
    """Verify that a log has not lost or changed what it had at an older checkpoint, and is what its newest checkpoint says.

    Hashes every entry of the log again. Of the log of plans and seals, the log of each sealed job is compared with the job's
    newest seal, and each job that was planned must be sealed or still be there. Exits 0 if no problem was found, else 4: entries
    that are missing or altered, another history, a log that was rolled back, a job that is gone without a seal, a checkpoint under
    an unknown key. Exits 4, too, if the older checkpoint itself is not signed by a known key.
    """
    keys = known_keys(settings, seal_key)
    older = open_kept(read_kept(since), keys)
    async with open_session(settings, reads=True, nats=False) as session:
        report = await examine_log(session.services.database_url, older, keys)
    if json:
        print_object(report.to_json())
    else:
        _print_log_report(report)
    if not report.ok:
        raise AuditError(
            f"The log {older.origin} does not hold: {counted(len(report.findings), 'problem')}.",
            hint="Compare with a backup of Postgres, and with the copies in VAULTSTREAM_SEALS_DIR.",
        )


@command(group, "seal", part=WorkerRole.RECORDS, names=("job",))
async def seal_job(
    settings: Settings,
    *,
    job: JobName,
    deleted: Annotated[
        bool,
        typer.Option(
            "--deleted",
            help="You know that the job was deleted: seal that, too. Without it, a deletion that only Postgres has is not sealed.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Seal what happened to a job since its last seal: retries, revocations, exports. The job may be running.

    A records worker does it while the job runs and at its end; this is for what happens afterwards, and for a job that was signed
    without a seal key. Needs the seal key (VAULTSTREAM_SEAL_KEY_FILE), and in Postgres the role of a records worker. Exits 4 if a
    log is not what the seal key signed before, or if something is gone that was sealed.
    """
    keys = _own_keys(settings)
    async with (
        open_session(settings, existing=True) as session,
        explaining_unknown(session, job),
        session.pool.acquire() as connection,
    ):
        sealed = await seal_since(connection, keys, seals_dir(settings), job, deletion=deleted)
    if json:
        seal = sealed and sealed.seal
        print_object(
            {
                "job": job,
                "sealed": sealed is not None,
                "state": seal and seal.state,
                "signed": seal and seal.signed,
                "dead": seal and seal.dead,
                "entries": seal and seal.tree_size,
                "checkpoint": sealed and sealed.checkpoint.decode(),
            }
        )
    elif sealed is None:
        note(f"Nothing happened to job {job} since its last seal.")
    else:
        print_file(sealed.checkpoint.decode())
        seal = sealed.seal
        note(
            f"Sealed job {seal.job} as {seal.state}, with {counted(seal.signed, 'signed record')} and "
            f"{counted(seal.dead, 'dead letter')}: {counted(seal.tree_size, 'entry', 'entries')} in its log."
        )


async def _find(connection: Connection, name: str, job_name: str | None, tenant: str | None) -> Log:
    if job_name is not None:
        try:
            job: Job | AuditedJob = await get_job(connection, job_name)
        except UnknownJobError:  # its logs remain after a deletion by Delete
            job = await get_audited_job(connection, job_name)
        if (of_job := await find_job_log(connection, job.job_no)) is None:
            raise _nothing_sealed(f"Job {job.name} is not sealed.")
        return of_job
    origin = f"{name}/tenants/{tenant}" if tenant else name
    if (found := await find_log(connection, origin)) is None:
        raise _nothing_sealed(f"There is no log {origin!r} in Postgres.")
    return found


def _nothing_sealed(message: str) -> UsageError:
    return UsageError(
        message,
        hint="A records worker with a seal key seals a job at intervals and at its end; `vaultstream doctor` says whether it has one.",
    )


def _print_log_report(report: LogReport) -> None:
    since = report.since
    for finding in report.findings[:SHOWN_FINDINGS]:
        print_line(f"{finding.problem}: {finding.message}")
    if (more := len(report.findings) - SHOWN_FINDINGS) > 0:
        print_line(f"and {counted(more, 'problem')} more; --json lists all")
    if report.erased:
        note(f"{counted(report.erased, 'entry', 'entries')} about a deleted job: hashes only.")
    if report.ok:
        print_line(
            f"The log {since.origin} has {counted(report.size, 'entry', 'entries')} and continues the older checkpoint of {since.size}."
        )
