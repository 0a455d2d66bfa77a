"""`vaultstream verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.audit.checks.pinned_keys import PinnedKeys
from vaultstream.audit.exports.formats import rfc3339
from vaultstream.audit.exports.proof_folder import read_given, read_proof, verify_proof
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.verify import verify_job
from vaultstream.bundle.verify import verify_bundle
from vaultstream.crypto.jwks import parse_jwks
from vaultstream.crypto.revocations import load_revocations
from vaultstream.crypto.seal_keys import parse_verifier_keys
from vaultstream.errors import CustodyError, UsageError
from vaultstream.local.session import open_session
from vaultstream.settings import Settings, revocations_file, seal_key_file, seals_dir
from vaultstream_cli.app import Json, command
from vaultstream_cli.bundle_report import print_bundle_report, require_genuine
from vaultstream_cli.output import print_line, print_object
from vaultstream_cli.progress import show_progress
from vaultstream_cli.report import print_report, require_ok
from vaultstream_cli.root import app


@command(app, "verify", names=("job",))
async def verify(
    settings: Settings,
    *,
    job: Annotated[
        str | None, typer.Argument(help="Name of the job, or its token if it was deleted.")
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="DIR", help="Verify an exported bundle instead, without a database."
        ),
    ] = None,
    proof: Annotated[
        Path | None,
        typer.Option(
            "--proof",
            metavar="DIR",
            help="Verify the proof of one record instead, without a database; see `prove`.",
        ),
    ] = None,
    payload: Annotated[
        Path | None,
        typer.Option(
            "--payload", metavar="FILE", help="With --proof: the record's payload, such as of `extract`."
        ),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Number of verifying processes. [default: one per core]"),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(
            "--keys",
            help="JWK set of the keys that may have signed, kept from `vaultstream keys export`. A key that signed and is not in "
            "it, has another public half there, or is revoked there is a problem.",
        ),
    ] = None,
    source: Annotated[
        bool,
        typer.Option(
            "--source",
            help="Also compare with the rows that the source has now. One with an id up to the job's highest that no batch covers "
            "is a problem: it committed late, or was inserted since. Rows with higher ids are counted and are no problem.",
        ),
    ] = False,
    seal_key: Annotated[
        list[str] | None,
        typer.Option(
            "--seal-key",
            metavar="KEY",
            help="Seal key that signs the checkpoints of logs: a verifier key, or a file with one on each line, as "
            "`vaultstream log key` prints them. Can be repeated. [default: the local one; none for a bundle; required for --proof]",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            help="Checkpoint that you have kept, of the log of seals or of the job's log: the log must be a later state of it. "
            "Can be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Verify a job: every record is accounted for once, every signature is valid, no two leases of a key overlap.

    Reads one snapshot of the database, even while the job runs. A record whose payload was changed after signing counts as
    changed, not as an invalid signature. Keys are revoked if the database or the file of revocations says so: they are named,
    with the number of their signatures, and a signature that was made after the revocation is a problem. Exits 0 if no problem
    was found, even if there are signatures from before a revocation, else 4.

    The job is compared with its newest seal: its batches, statements, dead letters, revocations and audit events are those that were
    sealed. A job without a seal is a problem if --seal-key or --against is given, and else a note, as it may be from before there were
    seals. What happened since the seal is counted in a note. Without a seal key, nothing proves that the seal is genuine.

    --bundle DIR verifies a folder that `vaultstream export --bundle` wrote, with the seal key or the keys that you have from
    elsewhere. Without either, a bundle agrees with itself at best, and the exit code is 4. So it is if the job was not complete.

    --proof DIR verifies what `vaultstream prove` wrote, with --payload, --keys and --seal-key: the record has this payload, was signed
    by one of these keys in its batch and at its time, and the seal key vouches that the job's log has the batch.
    """
    if proof is not None:
        if job is not None or bundle is not None or source or against:
            raise UsageError(
                "The proof of a record is verified alone.",
                hint="Leave out the job, --bundle, --source and --against.",
            )
        _verify_proof(proof, payload, keys, seal_key, json=json)
        return
    if payload is not None:
        raise UsageError("--payload is for the proof of a record.", hint="Add --proof DIR.")
    pinned = PinnedKeys.read(keys) if keys else None
    if bundle is not None:
        if job is not None or source or against:
            raise UsageError(
                "A bundle is verified without the job, its source and kept checkpoints.",
                hint="Leave out the job, --source and --against.",
            )
        await _verify_bundle(bundle, pinned, seal_key, processes, json=json)
        return
    if job is None:
        raise UsageError("No job is named.", hint="Name one, or a bundle with --bundle DIR.")
    trust = SealTrust.read(
        seal_key or [], against or [], key_file=seal_key_file(settings), seals_dir=seals_dir(settings)
    )
    async with open_session(settings, reads=True, nats=False) as session:
        with show_progress("verifying") as progress:
            report = await verify_job(
                session.services.database_url,
                job,
                source_url=session.services.source_url,
                processes=processes,
                progress=progress,
                revocations=load_revocations(revocations_file(settings)),
                pinned_keys=pinned,
                compare_source=source,
                seal_trust=trust,
            )
    if json:
        print_object(report.to_json())
    else:
        print_report(report)
    require_ok(report)


def _verify_proof(
    folder: Path, payload: Path | None, keys: Path | None, seal_key: list[str] | None, *, json: bool
) -> None:
    if payload is None or keys is None or not seal_key:
        raise UsageError(
            "A proof needs --payload, --keys and --seal-key.",
            hint="Take the keys from elsewhere than from the proof, such as a copy of what `keys export` and `log key` printed.",
        )
    try:
        trusted = parse_jwks(read_given(keys), str(keys))
    except CustodyError as error:  # it is not ours that can't be used
        raise UsageError(error.message, hint=error.hint) from None
    verified = verify_proof(read_proof(folder), read_given(payload), trusted, parse_verifier_keys(*seal_key))
    if json:
        print_object(verified.to_json())
        return
    stated = verified.statement
    print_line(
        f"Record {verified.record_id} of job {stated.job_token} was signed at {rfc3339(stated.signed_at)} by {stated.key_id}, in "
        f"batch {stated.batch}, which is in the log {verified.head.origin} of {verified.head.size} entries."
    )


async def _verify_bundle(
    folder: Path, pinned: PinnedKeys | None, seal_key: list[str] | None, processes: int | None, *, json: bool
) -> None:
    seal_keys = parse_verifier_keys(*(seal_key or ()))
    with show_progress("verifying") as progress:
        report = await verify_bundle(
            folder, seal_keys=seal_keys, pinned=pinned, processes=processes, progress=progress
        )
    if json:
        print_object(report.to_json())
    else:
        print_bundle_report(report)
    require_genuine(report)
