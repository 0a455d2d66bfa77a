"""`vaultstream verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from vaultstream.audit.report import AuditReport
from vaultstream.audit.verify import verify_job
from vaultstream.errors import AuditError
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import err, note, print_json, print_table
from vaultstream_cli.session import open_session

SHOWN_EXAMPLES = 5


@command(app, "verify")
async def verify(
    settings: Settings,
    *,
    job: Annotated[str, typer.Argument(help="Name of the job; its token, if it was deleted.")],
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, help="Verifying processes. [default: one a core]")
    ] = None,
    json: Json = False,
) -> None:
    """Verify a job: every record accounted for once, every signature valid, no two leases of a key at one time.

    Looks at one moment of the database, also while the job runs. A record whose payload is not the one that was signed
    counts as changed, told apart from a bad signature. Exits 0 only when nothing was found, else 4.
    """
    async with open_session(settings) as session:
        with show_progress("verifying") as progress:
            report = await verify_job(
                session.services.database_url, job, processes=processes, progress=progress
            )
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
    require_ok(report)


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Shows a bar on standard error, if that is a terminal; gives the function that moves it to (done, total)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_report(report: AuditReport) -> None:
    """Prints a report for people: the counts, then examples of what was found."""
    of_which = {"revoked": "  under keys revoked since", "deleted": "  whose row is gone"}
    print_table(
        ("verified", report.job),
        [
            ("records", report.records),
            ("signed", report.signed),
            ("dead letters", report.dead),
            ("valid", report.valid),
            *((label, getattr(report, name)) for name, label in of_which.items() if getattr(report, name)),
            ("invalid", report.invalid),
            ("changed since", report.changed),
            ("missing", report.missing),
            ("pending", report.pending),
            ("duplicates", report.duplicates),
            ("lease overlaps", report.lease_overlaps),
            ("outside a lease", report.bad_leases),
            ("not of the job", report.unplanned),
            ("planned twice", report.planned_twice),
            ("seconds", report.seconds),
        ],
    )
    for text in report.notes:
        note(f"note: {text}")
    for kind, examples in report.examples.items():
        for example in examples[:SHOWN_EXAMPLES]:
            where = f"record {example.record!r}: " if example.record is not None else ""
            note(f"{kind}: {where}{example.reason}")
        if (more := getattr(report, kind) - SHOWN_EXAMPLES) > 0:
            note(f"{kind}: and {more:,} more; --json names up to 20")


def require_ok(report: AuditReport) -> None:
    """Passes a report that is in order.

    Raises:
        AuditError: it is not; the message says what was found.
    """
    if report.ok:
        return
    found = "; ".join(report.problems)
    if report.finished:
        raise AuditError(f"Job {report.job} does not pass: {found}.")
    raise AuditError(
        f"Job {report.job} is not finished: {found}.",
        hint=f"Verify it again once `vaultstream status {report.job}` shows it Complete.",
    )
