"""`vaultstream keys`: a job's keys, and the key-encryption key."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from vaultstream.crypto.keyring import load_keyring
from vaultstream.crypto.seal_keys import load_seal_keys
from vaultstream.errors import UsageError
from vaultstream.keys.changes import KeyChange, KeyEnd, add_job_keys, choose_keys, end_job_keys, publish_keys
from vaultstream.keys.rewrap import Rewrapped, rewrap_job, rewrapping
from vaultstream.local.kek import make_kek_file
from vaultstream.local.session import Session, open_session
from vaultstream.output_file import write_output
from vaultstream.plurals import counted
from vaultstream.proof.key_set import PROOF_SUFFIX, sign_key_set
from vaultstream.role import WorkerRole
from vaultstream.settings import Settings, revocations_file, seal_key_file
from vaultstream.store.jobs import Job, get_job
from vaultstream.store.keys import KeyInfo, list_keys, list_wrapped, may_read_wrapped
from vaultstream.store.sql import query
from vaultstream_cli.app import JobName, Json, command
from vaultstream_cli.key_export import KeyFormat, render_keys, trusted
from vaultstream_cli.output import (
    STANDARD_OUTPUT,
    note,
    print_file,
    print_line,
    print_object,
    print_table,
    warn,
)
from vaultstream_cli.root import app

group = typer.Typer(
    help="List, export, add, retire and revoke a job's keys; create and rotate the key-encryption key.",
    no_args_is_help=True,
)
app.add_typer(group, name="keys")

KeyIds = Annotated[
    list[str] | None, typer.Argument(metavar="KEY_ID", help="Ids of the keys, as shown by `keys list`.")
]
AllKeys = Annotated[bool, typer.Option("--all", help="All keys of the job.")]


@command(group, "list", names=("key_id",), table=True)
async def list_(settings: Settings, *, job: JobName, json: Json = False) -> None:
    """List a job's keys, with their state and the number of batches signed. Private keys are never shown."""
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = await get_job(connection, job)
        keys = await list_keys(connection, found.job_no)
        keks = (
            {key.key_id: key.kek_id for key in await list_wrapped(connection, found)}
            if await may_read_wrapped(connection)
            else {}
        )
    if json:
        print_object([_to_json(key, keks.get(key.key_id)) for key in keys])
        return
    if not keys:
        note(f"Job {found.name} has no keys yet; its keys worker creates them when it runs.")
        return
    print_table(
        ("key", "state", "algorithm", "batches", "last used", "leased by", "wrapped by"),
        [
            (k.key_id, k.state, k.algorithm, k.batches, k.last_used_at, k.holder, keks.get(k.key_id))
            for k in keys
        ],
    )


def _to_json(key: KeyInfo, kek_id: str | None) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(key).items() if name not in {"key_no", "public_key"}}
    return {**shown, "kek_id": kek_id}


@command(group, "export")
async def export(
    settings: Settings,
    *,
    job: JobName,
    form: Annotated[
        KeyFormat, typer.Option("--format", help="A JWK set (RFC 7517), or PEM blocks.")
    ] = KeyFormat.JWKS,
    include_revoked: Annotated[
        bool, typer.Option("--include-revoked", help="Also export revoked keys, marked as such.")
    ] = False,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; - is standard output.")
    ] = STANDARD_OUTPUT,
    signed: Annotated[
        bool,
        typer.Option(
            "--signed",
            help="Also write FILE.tlog-proof, by which the seal key vouches for the key set. It then names its job and the time.",
        ),
    ] = False,
) -> None:
    """Export a job's public keys, to verify its signatures with.

    Revoked keys are left out, because programs that use a JWK set trust every key in it. A key set says what the keys are for:
    to verify signatures (`use`, `key_ops`) of one algorithm (`alg`). `state` is active, retired or revoked; a revoked key also has
    `revoked`, with the time.

    With --signed, whoever has the verifier key of the seal key can check that the file is the one that was exported here:
    docs/keys-and-custody.md says how. It reads the file of the seal key (VAULTSTREAM_SEAL_KEY_FILE).
    """
    if signed and (output == STANDARD_OUTPUT or form is not KeyFormat.JWKS):
        raise UsageError("--signed is for a JWK set in a file.", hint="Give --output FILE and --format jwks.")
    seal_key = load_seal_keys(seal_key_file(settings)).signing if signed else None
    async with (
        open_session(settings, reads=True, nats=False) as session,
        session.pool.acquire() as connection,
    ):
        found = await get_job(connection, job)
        every = await list_keys(connection, found.job_no)
        now: datetime = await connection.fetchval(query("current_time"))
    keys = every if include_revoked else trusted(every)
    if left_out := len(every) - len(keys):
        note(f"{counted(left_out, 'revoked key')} left out; --include-revoked exports them too")
    about = (
        {"vaultstream.dev/job": found.token, "vaultstream.dev/exportedAt": now.isoformat()} if signed else {}
    )
    text = render_keys(keys, form, about=about)
    if output == STANDARD_OUTPUT:
        print_file(text)
        return
    await write_output(output, text.encode())
    note(f"{counted(len(keys), 'public key')} written to {output}")
    if seal_key:
        proof = output.with_name(output.name + PROOF_SUFFIX)
        await write_output(proof, sign_key_set(text.encode(), found.token, seal_key))
        note(f"Proof of {seal_key.name} written to {proof}; its key: {seal_key.public_key.vkey}")


@command(group, "add", part=WorkerRole.KEYS, names=("added",))
async def add(
    settings: Settings,
    *,
    job: JobName,
    count: Annotated[
        int, typer.Option("--count", "-n", min=1, max=10_000, help="Number of keys to add.")
    ] = 1,
    json: Json = False,
) -> None:
    """Add keys to a job, for example after all of its keys were retired. The job may be running."""
    async with open_session(settings, existing=True) as session:
        found = await _find(session, job)
        services = session.services
        ring = load_keyring(services.kek_file)
        change = await add_job_keys(session.pool, services.bus_address, found, ring, count)
    _report(found, "added", change, as_json=json)


@command(group, "retire", part=WorkerRole.KEYS, names=("retired",))
async def retire(
    settings: Settings, *, job: JobName, key_ids: KeyIds = None, every: AllKeys = False, json: Json = False
) -> None:
    """Retire keys: each finishes its current batch and is no longer leased. Its signatures stay valid."""
    await _end(settings, job, key_ids, every=every, state=KeyEnd.RETIRED, as_json=json)


@command(group, "revoke", part=WorkerRole.KEYS, names=("revoked",))
async def revoke(
    settings: Settings,
    *,
    job: JobName,
    key_ids: KeyIds = None,
    every: AllKeys = False,
    reason: Annotated[
        str, typer.Option("--reason", help="Why, for the file of revocations: one line without secrets.")
    ] = "",
    json: Json = False,
) -> None:
    """Revoke keys: each is fenced at once, and `verify` and `export` mark its signatures.

    A batch in flight under a revoked key is discarded and signed again under another key. The revocation is first written to
    the file of revocations (VAULTSTREAM_REVOCATIONS_FILE, or `revocations` beside the key-encryption key), so that restoring
    a backup of the database does not revive the key. Keep a copy of that file, and don't restore it with the database. For pods on
    Kubernetes, put the file into the ConfigMap of revocations of their namespace.
    """
    await _end(settings, job, key_ids, every=every, state=KeyEnd.REVOKED, as_json=json, reason=reason)


async def _end(
    settings: Settings,
    job: str,
    key_ids: list[str] | None,
    *,
    every: bool,
    state: KeyEnd,
    as_json: bool,
    reason: str = "",
) -> None:
    chosen = choose_keys(job, key_ids, every=every)
    async with open_session(settings, existing=True) as session:
        found = await _find(session, job)
        change = await end_job_keys(
            session.pool,
            session.services.bus_address,
            found,
            chosen,
            state=state,
            revocations=revocations_file(settings),
            reason=reason,
        )
    _report(found, state, change, as_json=as_json)


async def _find(session: Session, job: str) -> Job:
    async with session.pool.acquire() as connection:
        return await get_job(connection, job)


def _note_not_notified() -> None:
    note("NATS is unreachable: signers will read the change from Postgres at their next lease.")


def _report(job: Job, what: str, change: KeyChange, *, as_json: bool) -> None:
    changed, counts = change.key_ids, change.counts
    if not change.signers_notified:
        _note_not_notified()
    if as_json:
        print_object({"job": job.name, what: changed, "keys": counts.to_json()})
    else:
        for key_id in changed:
            print_line(key_id)
        note(
            f"{counted(len(changed), 'key')} {what}; job {job.name} has {counted(counts.active, 'active key')}."
        )
    if change.job_waits:
        warn(
            f"job {job.name} has no active key left and waits for one. "
            f"Add keys: `vaultstream keys add {job.name} --count N`"
        )


@command(group, "rewrap", part=WorkerRole.KEYS, names=("job",))
async def rewrap(
    settings: Settings,
    *,
    job: JobName,
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate/--no-rotate",
            help="Create a new key-encryption key, or only finish moving keys to the newest one.",
        ),
    ] = True,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="Remove key-encryption keys that this database no longer needs. Use --no-prune if another database shares the file.",
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Rotate the key-encryption key: add a new one to its file, wrap the job's keys with it, and remove unused ones.

    Safe while jobs run. If it is interrupted, run it again. Key-encryption keys that other jobs need stay in the file.
    """
    async with open_session(settings, existing=True) as session:
        found = await _find(session, job)
        async with rewrapping(session.pool) as connection:
            done = await rewrap_job(connection, found, session.services.kek_file, rotate=rotate, prune=prune)
        if not await publish_keys(session.services.bus_address, session.pool, found):
            _note_not_notified()
    if json:
        print_object({"job": found.name, **asdict(done)})
    else:
        _print_rewrapped(found, done)


def _print_rewrapped(job: Job, done: Rewrapped) -> None:
    note(f"{counted(done.keys, 'key')} of job {job.name} now wrapped by {done.kek_id}.")
    if done.dropped:
        note(f"Removed from the file: {', '.join(done.dropped)}.")
    if done.waiting_for:
        note(
            f"Nothing was removed from the file, because keys are being created for {', '.join(done.waiting_for)}. "
            f"Run `vaultstream keys rewrap {job.name} --no-rotate` afterwards to remove unused ones."
        )
    elif done.kept:
        note(f"Also kept in the file: {', '.join(done.kept)}.")


@command(group, "init")
async def init(
    settings: Settings,
    *,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Create it even if keys are wrapped by a lost key-encryption key. Those keys stay lost.",
        ),
    ] = False,
) -> None:
    """Create a file with a new key-encryption key, mode 0600. An existing file is never overwritten.

    The path is --kek-file, VAULTSTREAM_KEK_FILE, or `kek` in the data directory. Keep a copy in a safe place: without it,
    private keys can't be unwrapped. Refused if a lost file must be restored instead: if the database has wrapped keys, or
    if no file is named and the data directory was used before.
    """
    made = await make_kek_file(settings, force=force)
    if made.unchecked:
        note(f"Could not check whether keys are already wrapped: {made.unchecked}")
    note(f"Created {made.path} with {made.kek_id}. Keep a copy in a safe place.")
