"""`vaultstream bench`."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vaultstream.api import Algorithm
from vaultstream.bench.limit import SECONDS
from vaultstream.bench.result import Wanted
from vaultstream.bench.run import run_bench
from vaultstream.cores import usable_cores
from vaultstream.errors import UsageError
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import note, print_json, print_table
from vaultstream_cli.report import require_ok
from vaultstream_cli.session import open_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.bench.result import Result


@command(app, "bench", interrupted="Nothing of it is left; the same command starts anew.")
async def bench(
    settings: Settings,
    *,
    records: Annotated[int, typer.Option("--records", min=1, help="Records to sign.")] = 100_000,
    keys: Annotated[int, typer.Option("--keys", min=1, max=10_000, help="Keys to sign with.")] = 100,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=20_000, help="Records a batch.")
    ] = 500,
    signers: Annotated[
        int | None, typer.Option("--signers", min=1, max=256, help="Signing processes. [default: one a core]")
    ] = None,
    algorithm: Annotated[
        Algorithm, typer.Option("--algorithm", help="What to sign with.")
    ] = Algorithm.ECDSA_P256_SHA256,
    payload_bytes: Annotated[
        int, typer.Option("--payload-bytes", min=0, max=1024 * 1024, help="Size of each payload.")
    ] = 256,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            min=1,
            max=64,
            help="Batches in hand at a time, a signer. [default: as a job's]",
        ),
    ] = None,
    limit_seconds: Annotated[
        float, typer.Option("--limit-seconds", min=0.1, help="For each measurement of the limit.")
    ] = SECONDS,
    json: Json = False,
) -> None:
    """Measure a whole job against what the processor could sign if it did nothing else.

    Signs new records in services of its own, in a temporary folder; in given ones with --data-dir or URLs, and leaves
    nothing there. Counts from the start of planning to the end of the job, with all keys made and all signers up. The limit
    is measured right before and right after, and every signature is verified. Exits 0 only if all are valid, else 4.
    """
    wanted = Wanted(
        records=records,
        keys=keys,
        batch_size=batch_size,
        signers=signers or usable_cores(),
        algorithm=algorithm,
        payload_bytes=payload_bytes,
        concurrency=concurrency,
    )
    if wanted.signers > wanted.keys:
        raise UsageError(
            f"{wanted.signers} signers need a key each, and there are {keys}.",
            hint="Give --signers or --keys.",
        )
    async with _own_folder(settings) as placed, open_session(placed) as session:
        result = await run_bench(
            session.services, session.pool, wanted, stage=_show_stage, limit_seconds=limit_seconds
        )
    if json:
        print_json(result.to_json())
    else:
        _print_result(result)
    require_ok(result.verification)


def _show_stage(stage: str) -> None:
    note(f"{stage} …")


@asynccontextmanager
async def _own_folder(settings: Settings) -> AsyncIterator[Settings]:
    """The settings, with a fresh data directory if they name none; it is removed at the end."""
    if "data_dir" in settings.model_fields_set:
        yield settings
        return
    folder = Path(tempfile.mkdtemp(prefix="vaultstream-bench-"))
    try:
        yield settings.model_copy(update={"data_dir": folder})
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _print_result(result: Result) -> None:
    wanted, limit, traffic = result.wanted, result.limit, result.traffic
    rows: list[tuple[str, object]] = [
        ("algorithm", str(wanted.algorithm)),
        ("keys", wanted.keys),
        ("batches", f"{traffic.batches:,}, of {wanted.batch_size:,} records"),
        ("signers", f"{wanted.signers}, on {result.cores} cores"),
        ("time", f"{result.seconds:.2f} s, after {result.startup_seconds:.2f} s to start"),
        ("rate", f"{result.records_per_second:,.0f} records/s"),
        (
            "limit",
            f"{limit.rate.per_second:,.0f} signatures/s, by {'openssl' if limit.openssl else 'the library'}",
        ),
        ("share of the limit", f"{result.share_of_limit:.3f}"),
        ("share by processor time", None if result.share_by_cpu is None else f"{result.share_by_cpu:.3f}"),
        ("the library's own rate", f"{limit.library.per_second:,.0f} signatures/s"),
        (
            "CPU of a signature",
            f"{limit.rate.cpu_seconds * 1e6:.1f} µs; by the library {limit.library.cpu_seconds * 1e6:.1f} µs",
        ),
        ("NATS messages a batch", traffic.per_batch(traffic.messages)),
        ("transactions a batch", traffic.per_batch(traffic.transactions)),
    ]
    for part, seconds in result.cpu_seconds.items():
        each = seconds / wanted.records * 1e6
        rows.append((f"CPU of {part.value}", f"{seconds:.2f} s, {each:.1f} µs a record"))
    for kind in dict.fromkeys(name.rstrip("0123456789 ") for name in result.peak_memory):
        peak = max(bytes_ for name, bytes_ in result.peak_memory.items() if name.startswith(kind))
        rows.append((f"memory of a {kind} process", f"{peak / 2**20:,.0f} MiB at the most"))
    print_table(("records", f"{wanted.records:,}"), rows)
    note(f"verified: {result.verification.valid:,} valid signatures")
