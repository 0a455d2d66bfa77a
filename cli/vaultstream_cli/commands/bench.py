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
from vaultstream.local.session import open_session
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream.store.privileges import EVERY_PART
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, print_object, print_table
from vaultstream_cli.report import require_ok
from vaultstream_cli.root import app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from vaultstream.bench.limit import Rate
    from vaultstream.bench.result import Result


@command(
    app,
    "bench",
    part=EVERY_PART,
    interrupted="Everything it created was removed; run the same command to start again.",
)
async def bench(
    settings: Settings,
    *,
    records: Annotated[int, typer.Option("--records", min=1, help="Records to sign.")] = 100_000,
    keys: Annotated[int, typer.Option("--keys", min=1, max=10_000, help="Keys to sign with.")] = 100,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=20_000, help="Records per batch.")
    ] = 500,
    signers: Annotated[
        int | None,
        typer.Option(
            "--signers", min=1, max=256, help="Number of signing processes. [default: one per core]"
        ),
    ] = None,
    algorithm: Annotated[
        Algorithm, typer.Option("--algorithm", help="Signature algorithm.")
    ] = Algorithm.ECDSA_P256_SHA256,
    payload_bytes: Annotated[
        int, typer.Option("--payload-bytes", min=0, max=1024 * 1024, help="Size of each payload, in bytes.")
    ] = 256,
    concurrency: Annotated[
        int | None,
        typer.Option(
            "--concurrency",
            min=1,
            max=64,
            help="Batches in flight per signer. [default: same as for a job]",
        ),
    ] = None,
    limit_seconds: Annotated[
        float,
        typer.Option(
            "--limit-seconds", min=0.1, help="Duration of each measurement of the limit, in seconds."
        ),
    ] = SECONDS,
    json: Json = False,
) -> None:
    """Compare the rate of a whole job with the limit: the rate at which the processor can sign if it does nothing else.

    Signs generated records, in embedded services in a temporary folder. With --data-dir or URLs it uses those services and
    removes its data afterwards. The clock runs from the start of planning to the end of the job; keys and signers are ready
    before it starts. The limit is measured right before and right after the job. Then the floor is measured: the same rows, signed
    and copied into a table with nothing else in between. Every signature is verified: exits 0 if all are valid, else 4.
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
            f"Each signer needs a key, but --signers is {wanted.signers} and --keys is {keys}.",
            hint="Lower --signers or raise --keys.",
        )
    async with _own_folder(settings) as placed, open_session(placed, runs=True) as session:
        result = await run_bench(
            session.services, session.pool, wanted, stage=_show_stage, limit_seconds=limit_seconds
        )
    if json:
        print_object(result.to_json())
    else:
        _print_result(result)
    require_ok(result.verification)


def _show_stage(stage: str) -> None:
    note(f"{stage} …")


@asynccontextmanager
async def _own_folder(settings: Settings) -> AsyncIterator[Settings]:
    """Yields the settings, with a temporary data directory if they name none; it is removed at the end."""
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
        ("signed by", result.signing_path),
        ("keys", wanted.keys),
        ("batches", f"{traffic.batches:,}, of {counted(wanted.batch_size, 'record')} each"),
        ("signers", f"{wanted.signers}, on {counted(result.cores, 'core')}"),
        ("time", f"{result.seconds:.2f} s, after {result.startup_seconds:.2f} s of startup"),
        ("rate", f"{result.records_per_second:,.0f} records/s"),
        (
            "limit",
            f"{limit.rate.per_second:,.0f} signatures/s, measured with {'openssl' if limit.openssl else 'the library'}",
        ),
        ("share of the limit", f"{result.share_of_limit:.3f}"),
        (
            "share of the limit, by CPU time",
            None if result.share_by_cpu is None else f"{result.share_by_cpu:.3f}",
        ),
        ("floor", _floor(result.floor)),
        ("share of the floor", f"{result.share_of_floor:.3f}"),
        (
            "share of the floor, by CPU time",
            None if result.share_of_floor_by_cpu is None else f"{result.share_of_floor_by_cpu:.3f}",
        ),
        ("rate of the library alone", f"{limit.library.per_second:,.0f} signatures/s"),
        (
            "CPU time per signature",
            f"{limit.rate.cpu_seconds * 1e6:.1f} µs; with the library {limit.library.cpu_seconds * 1e6:.1f} µs",
        ),
        ("NATS messages per batch", traffic.per_batch(traffic.messages)),
        ("transactions per batch", traffic.per_batch(traffic.transactions)),
    ]
    for part, seconds in result.cpu_seconds.items():
        each = seconds / wanted.records * 1e6
        rows.append((f"CPU time of {part.value}", f"{seconds:.2f} s, {each:.1f} µs per record"))
    for kind in dict.fromkeys(name.rstrip("0123456789 ") for name in result.peak_memory):
        peak = max(bytes_ for name, bytes_ in result.peak_memory.items() if name.startswith(kind))
        rows.append((f"peak memory per {kind} process", f"{peak / 2**20:,.0f} MiB"))
    print_table(("records", f"{wanted.records:,}"), rows)
    note(f"verified: {counted(result.verification.valid, 'valid signature')}")


def _floor(rate: Rate) -> str:
    each = rate.cpu_seconds * 1e6
    return f"{rate.per_second:,.0f} rows/s that are signed and copied, {each:.1f} µs of CPU time each"
