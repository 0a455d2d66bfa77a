"""`vaultstream quick-start`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.api import SigningJobSpec
from vaultstream.audit.seals.seal_trust import SealTrust
from vaultstream.audit.verify import verify_job
from vaultstream.local.quick_start import QuickStartRuns
from vaultstream.local.seed import seed_records, show_samples
from vaultstream.local.session import open_session
from vaultstream.plurals import counted
from vaultstream.settings import Settings, seal_key_file, seals_dir
from vaultstream.store.privileges import EVERY_PART
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import note, out, print_object, print_table
from vaultstream_cli.progress import show_progress
from vaultstream_cli.report import print_report, require_ok
from vaultstream_cli.root import app
from vaultstream_cli.running import MaxSigners, run_and_show
from vaultstream_cli.summary import Summary, get_summary, print_summary, require_all_signed


@command(app, "quick-start", part=EVERY_PART, names=("job",))
async def quick_start(
    settings: Settings,
    *,
    records: Annotated[
        int | None,
        typer.Option("--records", min=0, help="Number of records, like TOTAL_RECORDS. [default: 100000]"),
    ] = None,
    keys: Annotated[
        int | None,
        typer.Option("--keys", min=1, max=10_000, help="Number of keys, like TOTAL_KEYS. [default: 100]"),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size", min=1, max=20_000, help="Records per batch, like BATCH_SIZE. [default: 500]"
        ),
    ] = None,
    max_signers: MaxSigners = None,
    json: Json = False,
) -> None:
    """Seed records, sign them all, verify every signature, and compare the runs by batch size.

    Another batch size starts a new job on the same data. An interrupted run is resumed, even if only its verification is
    missing. Exits 0 if every record is signed and every signature is valid.
    """
    total = settings.total_records if records is None else records
    async with open_session(settings, runs=True) as session:
        with show_progress("seeding") as progress:
            async with session.pool.acquire() as connection:
                table = await seed_records(connection, total, progress=progress)
                await show_samples(connection, table)
        spec = SigningJobSpec.model_validate(
            {
                "records": {"table": table},
                "batchSize": batch_size or settings.batch_size,
                "keys": {"count": keys or settings.total_keys},
            }
        )
        runs = QuickStartRuns(session.services.data_dir)
        async with session.pool.acquire() as connection:
            job = await runs.open(connection, spec)
        note(
            f"{job.name}: {counted(total, 'record')}, {counted(spec.keys.count, 'key')}, "
            f"{counted(spec.batch_size, 'record')} per batch"
        )
        summary = await run_and_show(session, job.token, max_signers=max_signers)
        with show_progress("verifying") as progress:
            report = await verify_job(
                session.services.database_url,
                job.token,
                source_url=session.services.source_url,
                processes=None,
                progress=progress,
                seal_trust=SealTrust.read(
                    [], [], key_file=seal_key_file(settings), seals_dir=seals_dir(settings)
                ),
            )
        runs.mark_verified(job)
        async with session.pool.acquire() as connection:
            finished = await runs.finished(connection, table)
        compared = [await get_summary(session.pool, each.token) for each in finished]
    if json:
        print_object(
            {
                **summary.to_json(),
                "verification": report.to_json(),
                "runs": [run.to_json() for run in compared],
            }
        )
    else:
        print_summary(summary)
        out.print()
        print_report(report)
        if len(compared) > 1:
            out.print()
            _print_comparison(compared)
    require_all_signed(summary)
    require_ok(report)


def _print_comparison(runs: list[Summary]) -> None:
    print_table(
        ("batch size", "keys", "signed", "dead", "seconds", "records/s", "job"),
        [
            (
                run.job.spec.batch_size,
                run.job.spec.keys.count,
                run.progress.signed,
                run.progress.dead,
                run.job.seconds,
                run.progress.overall_rate,
                run.job.name,
            )
            for run in sorted(runs, key=lambda run: (run.job.spec.batch_size, run.job.job_no))
        ],
        title=f"runs on {counted(runs[0].progress.records, 'record')}, by batch size",
    )
