"""`vaultstream export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaultstream.audit.exports.export import export_job
from vaultstream.audit.exports.formats import ExportFormat, SignatureFormat
from vaultstream.bundle.export import export_bundle
from vaultstream.errors import UsageError
from vaultstream.local.session import open_session
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream_cli.app import command
from vaultstream_cli.output import STANDARD_OUTPUT, note
from vaultstream_cli.progress import show_progress
from vaultstream_cli.root import app
from vaultstream_cli.unknown_jobs import explaining_unknown

STARTS_OVER = (
    "Run the same command again: it starts from the beginning. What was written of this export is removed."
)


@command(app, "export", interrupted=STARTS_OVER)
async def export(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job, or its token if it was deleted.")],
    form: Annotated[ExportFormat, typer.Option("--format", help="Format of the file.")] = ExportFormat.JSONL,
    signature_format: Annotated[
        SignatureFormat,
        typer.Option(
            "--signature-format", help="Encoding of ECDSA signatures: a DER sequence, or raw r and s."
        ),
    ] = SignatureFormat.DER,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="File to write, replaced when the export is complete; - is standard output.",
        ),
    ] = STANDARD_OUTPUT,
    records: Annotated[
        list[str] | None,
        typer.Option("--records", metavar="ID", help="Export only this record. Can be repeated."),
    ] = None,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            metavar="DIR",
            help="Write a bundle for an auditor instead: a new folder with all that proves what was signed, and programs that check it.",
        ),
    ] = None,
    payloads: Annotated[
        bool, typer.Option("--payloads", help="With --bundle: also the payloads, read from the source.")
    ] = False,
) -> None:
    """Export a job's signatures, ordered by record.

    Each row has the record id, the payload's SHA-256 (hex), key id and state, algorithm, signature (base64), time
    (RFC 3339, UTC) and epoch: enough to verify it elsewhere with the public keys from `vaultstream keys export`.
    ECDSA signatures are in DER, for OpenSSL, or with --signature-format raw the 64 bytes of r and s, for JOSE and WebCrypto.
    Signatures of Ed25519, RSA-PSS and ML-DSA have one form, which both take.
    A job that signs JWS also has the compact JWS of each record, with its payload detached. In Parquet, digests and signatures are bytes, and integer ids are integers. In CSV, an apostrophe precedes a cell that
    a spreadsheet would run as a formula, or that begins with an apostrophe: a program removes the first one. Numbers and words like `--help` have none.

    --bundle DIR writes a folder with records, signatures, statements, keys and seal, which `vaultstream verify --bundle DIR` and the
    two programs in it check without a database.
    """
    if bundle is not None:
        if records or output != STANDARD_OUTPUT:
            raise UsageError(
                "A bundle is a folder with all records.", hint="Leave out --records and --output."
            )
        await _export_bundle(settings, job, bundle, payloads=payloads)
        return
    if payloads:
        raise UsageError("--payloads is for bundles.", hint="Add --bundle DIR.")
    to_file = output != STANDARD_OUTPUT
    if form is ExportFormat.PARQUET and not to_file:
        raise UsageError(
            "Parquet can't be written to standard output.", hint="Give a file with --output FILE."
        )
    async with open_session(settings, reads=True, nats=False) as session, explaining_unknown(session, job):
        with show_progress("exporting") as progress:
            written = await export_job(
                session.services.database_url,
                job,
                form=form,
                output=output if to_file else None,
                signature_format=signature_format,
                records=records or (),
                progress=progress,
            )
    if to_file:
        note(f"{counted(written, 'signature')} written to {output}")


async def _export_bundle(settings: Settings, job: str, folder: Path, *, payloads: bool) -> None:
    async with open_session(settings, reads=True, nats=False) as session, explaining_unknown(session, job):
        with show_progress("exporting") as progress:
            exported = await export_bundle(
                session.services.database_url,
                job,
                folder=folder,
                payloads=payloads,
                source_url=session.services.source_url,
                progress=progress,
            )
    for text in exported.notes:
        note(f"note: {text}")
    note(f"{counted(exported.about.records, 'record')} written to {folder}")
