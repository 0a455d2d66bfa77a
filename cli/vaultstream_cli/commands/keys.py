"""`vaultstream keys`: a job's keys, listed, exported, added, ended; and the key-encryption key."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from vaultstream.crypto.keyring import load_keyring
from vaultstream.errors import UsageError
from vaultstream.keys.changes import KeyChange, KeyEnd, add_keys, choose_keys, end_keys, publish_keys
from vaultstream.keys.rewrap import Rewrapped, rewrap_job, rewrapping
from vaultstream.local.kek import make_kek_file
from vaultstream.local.session import Session, open_session
from vaultstream.settings import Settings
from vaultstream.store.jobs import Job, get_job
from vaultstream.store.keys import KeyInfo, list_keys, list_wrapped
from vaultstream_cli.app import JobName, Json, app, command
from vaultstream_cli.key_export import KeyFormat, render_keys
from vaultstream_cli.output import err, note, print_json, print_table

group = typer.Typer(
    help="List, export, add, retire and revoke a job's keys; make and rotate the key that encrypts them.",
    no_args_is_help=True,
)
app.add_typer(group, name="keys")

KeyIds = Annotated[
    list[str] | None, typer.Argument(metavar="KEY_ID", help="Which keys, as `keys list` calls them.")
]
AllKeys = Annotated[bool, typer.Option("--all", help="Every key of the job.")]
STANDARD_OUTPUT = Path("-")


@command(group, "list")
async def list_(settings: Settings, *, job: JobName, json: Json = False) -> None:
    """List a job's keys, with their state and how many batches each has signed. Private halves are never shown."""
    async with open_session(settings) as session, session.pool.acquire() as connection:
        found = await get_job(connection, job)
        keys = await list_keys(connection, found.job_no)
        keks = {key.key_id: key.kek_id for key in await list_wrapped(connection, found)}
    if json:
        print_json([_to_json(key, keks.get(key.key_id)) for key in keys])
        return
    if not keys:
        note(f"Job {found.name} has no keys yet; its keys worker makes them when it runs.")
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
        KeyFormat, typer.Option("--format", help="JWK set (RFC 7517), or PEM blocks.")
    ] = KeyFormat.JWKS,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write; - is standard output.")
    ] = STANDARD_OUTPUT,
) -> None:
    """Export the public halves of a job's keys: enough to check every signature that it made.

    Keys that were retired or revoked are among them; each says its state.
    """
    async with open_session(settings) as session, session.pool.acquire() as connection:
        found = await get_job(connection, job)
        keys = await list_keys(connection, found.job_no)
    text = render_keys(keys, form)
    if output == STANDARD_OUTPUT:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{output} can't be written: {error.strerror}.") from None
    note(f"{len(keys):,} public key{'' if len(keys) == 1 else 's'} written to {output}")


@command(group, "add")
async def add(
    settings: Settings,
    *,
    job: JobName,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=10_000, help="How many.")] = 1,
    json: Json = False,
) -> None:
    """Make more keys for a job, as for one whose keys were all retired; also while it runs."""
    async with open_session(settings) as session:
        found = await _find(session, job)
        services = session.services
        ring = load_keyring(services.kek_file)
        change = await add_keys(session.pool, services.bus_address, found, ring, count)
    _report(found, "added", change, as_json=json)


@command(group, "retire")
async def retire(
    settings: Settings, *, job: JobName, key_ids: KeyIds = None, every: AllKeys = False, json: Json = False
) -> None:
    """Retire keys: each finishes the batch that it is in and is leased no more. What it signed stays valid."""
    await _end(settings, job, key_ids, every=every, state=KeyEnd.RETIRED, as_json=json)


@command(group, "revoke")
async def revoke(
    settings: Settings, *, job: JobName, key_ids: KeyIds = None, every: AllKeys = False, json: Json = False
) -> None:
    """Revoke keys: each is fenced at once, and what it signed is marked by `verify` and `export`.

    A batch in hand under a revoked key is dropped and signed again under another.
    """
    await _end(settings, job, key_ids, every=every, state=KeyEnd.REVOKED, as_json=json)


async def _end(
    settings: Settings, job: str, key_ids: list[str] | None, *, every: bool, state: KeyEnd, as_json: bool
) -> None:
    chosen = choose_keys(job, key_ids, every=every)
    async with open_session(settings) as session:
        found = await _find(session, job)
        change = await end_keys(session.pool, session.services.bus_address, found, chosen, state=state)
    _report(found, state, change, as_json=as_json)


async def _find(session: Session, job: str) -> Job:
    async with session.pool.acquire() as connection:
        return await get_job(connection, job)


def _note_not_notified() -> None:
    note("NATS is unreachable: signers read the change from Postgres, at their next lease.")


def _report(job: Job, what: str, change: KeyChange, *, as_json: bool) -> None:
    changed, counts = change.key_ids, change.counts
    if not change.signers_notified:
        _note_not_notified()
    if as_json:
        print_json({"job": job.name, what: changed, "keys": counts.to_json()})
    else:
        for key_id in changed:
            typer.echo(key_id)
        note(
            f"{len(changed):,} key{'' if len(changed) == 1 else 's'} {what}; "
            f"job {job.name} has {counts.active:,} active."
        )
    if change.job_waits:
        err.print(
            f"warning: job {job.name} has no active key left and waits for one: "
            f"`vaultstream keys add {job.name} --count N`",
            markup=False,
            style="yellow",
        )


@command(group, "rewrap")
async def rewrap(
    settings: Settings,
    *,
    job: JobName,
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate/--no-rotate", help="Make a new key-encryption key, or only finish with the newest."
        ),
    ] = True,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune/--no-prune",
            help="Drop key-encryption keys that this database needs no more; don't, if another database shares the file.",
        ),
    ] = True,
    json: Json = False,
) -> None:
    """Rotate the key-encryption key: a new one goes into its file, the job's keys move under it, unused ones go.

    Safe while jobs run, and safe to kill: run it again. Key-encryption keys that other jobs' keys need stay in the file.
    """
    async with open_session(settings) as session:
        found = await _find(session, job)
        async with rewrapping(session.pool) as connection:
            done = await rewrap_job(connection, found, session.services.kek_file, rotate=rotate, prune=prune)
        if not await publish_keys(session.services.bus_address, session.pool, found):
            _note_not_notified()
    if json:
        print_json({"job": found.name, **asdict(done)})
    else:
        _tell(found, done)


def _tell(job: Job, done: Rewrapped) -> None:
    note(f"{done.keys:,} key{'' if done.keys == 1 else 's'} of job {job.name} moved under {done.kek_id}.")
    if done.dropped:
        note(f"Dropped from the file: {', '.join(done.dropped)}.")
    if done.waiting_for:
        note(
            f"Nothing was dropped, since keys are in the making for {', '.join(done.waiting_for)}; "
            f"`vaultstream keys rewrap {job.name} --no-rotate` drops what is unused once they are made."
        )
    elif done.kept:
        note(f"Kept beside it: {', '.join(done.kept)}.")


@command(group, "init")
async def init(
    settings: Settings,
    *,
    force: Annotated[
        bool,
        typer.Option("--force", help="Although keys are, or may be, wrapped by another: those stay lost."),
    ] = False,
) -> None:
    """Make a file with a new key-encryption key, mode 0600. What is there is never overwritten.

    At --kek-file, else at VAULTSTREAM_KEK_FILE, else in the data directory. Keep a copy of it safe: private keys can't be
    unwrapped without it. Refused where a lost file has to come back instead: if the database has wrapped keys, or the data
    directory was used before and no other file is named.
    """
    made = await make_kek_file(settings, force=force)
    if made.unchecked:
        note(f"Whether keys are wrapped already was not checked: {made.unchecked}")
    note(f"{made.path} made, with {made.kek_id}. Keep a copy of it safe.")
