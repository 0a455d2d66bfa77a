"""`vaultstream doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.doctor.examination import examine
from vaultstream.doctor.findings import Finding, Level, any_failed
from vaultstream.errors import ExitCode
from vaultstream.plurals import counted
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, command
from vaultstream_cli.output import out, print_beside, print_object, print_text
from vaultstream_cli.root import app

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


@command(app, "doctor")
async def doctor(
    settings: Settings,
    *,
    start: Annotated[
        bool,
        typer.Option(
            "--start/--no-start",
            help="Start stopped embedded services for the check and stop them afterwards, or check only running ones.",
        ),
    ] = True,
    json: Json = False,
) -> ExitCode:
    """Check the services, schema, streams, consumers, leases and keys; report problems and how to fix them.

    Changes nothing. If a service is down, that is reported and the remaining checks still run. Exits 0 if no check failed
    (warnings are not failures), else 5.
    """
    findings = await examine(settings, start=start)
    bad = any_failed(findings)
    if json:
        print_object({"ok": not bad, "findings": [finding.to_json() for finding in findings]})
    else:
        _print(findings)
    return ExitCode.SERVICE if bad else ExitCode.OK


def _print(findings: list[Finding]) -> None:
    print_beside(
        (
            [(str(finding.level), STYLES[finding.level]), (finding.check, "")],
            finding.message + (f"\ntry: {finding.hint}" if finding.hint else ""),
        )
        for finding in findings
    )
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    out.print()
    print_text(
        f"{counts[Level.OK]} ok, {counted(counts[Level.WARNING], 'warning')}, {counts[Level.FAILED]} failed"
    )
