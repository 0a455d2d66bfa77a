"""`vaultstream doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from vaultstream.doctor.examination import examine
from vaultstream.doctor.findings import Finding, Level, any_failed
from vaultstream.errors import ExitCode
from vaultstream.settings import Settings
from vaultstream_cli.app import Json, app, command
from vaultstream_cli.output import out, print_json

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILED: "red"}


@command(app, "doctor")
async def doctor(
    settings: Settings,
    *,
    start: Annotated[
        bool,
        typer.Option(
            "--start/--no-start",
            help="Start embedded services that don't run, and stop them again; or look only at what runs.",
        ),
    ] = True,
    json: Json = False,
) -> ExitCode:
    """Say what is wrong with the services, schema, streams, consumers, leases and keys, and what to do.

    Changes nothing. A service that is down is reported, and the rest looked at all the same. Exits 0 if nothing has failed
    (warnings are none), else 5.
    """
    findings = await examine(settings, start=start)
    bad = any_failed(findings)
    if json:
        print_json({"ok": not bad, "findings": [finding.to_json() for finding in findings]})
    else:
        _print(findings)
    return ExitCode.SERVICE if bad else ExitCode.OK


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        out.print(f"{finding.level:<8}", style=STYLES[finding.level], end="")
        out.print(f"{finding.check:<{width}}  {finding.message}", markup=False)
        if finding.hint:
            out.print(f"{'':<{8 + width}}  try: {finding.hint}", markup=False)
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    out.print(
        f"\n{counts[Level.OK]} ok, {counts[Level.WARNING]} warnings, {counts[Level.FAILED]} failed",
        markup=False,
    )
