"""Runs a job on this machine's cluster, shows live how its signers scale, and draws a picture of it."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kube import binaries
from kube.commands import Output, run
from kube.course import RecordedCourse
from kube.images import ROOT
from vaultstream.errors import LocalServiceError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

_JOB = "demo"
_RECORDS = ("hack/kube/demo-records.yaml", "job/receipts-import")
_STEP_SECONDS = 0.5
_SEED_TIMEOUT = "600s"
_PICTURE = ROOT / "build/demo.svg"
_MOST_DECISIONS = 8


@dataclass
class Demo:
    """The demo in one namespace of a cluster."""

    kubeconfig: Path
    namespace: str
    console: Console
    records: int

    async def run(self) -> None:
        """Creates the records and the job again, and shows the job until it has ended.

        Raises:
            LocalServiceError: the records could not be created, or the job failed.
        """
        await self._kubectl("delete", "signingjob", _JOB, "--ignore-not-found")
        await self._make_records()
        course = RecordedCourse(time.time())
        await self._kubectl("apply", "-f", str(ROOT / "examples/demo.yaml"))
        if self.console.is_terminal:
            status = await self._show_live(course)
        else:
            status = await self._print_changes(course)
        if status.get("state") != "Complete":
            raise LocalServiceError(
                f"The job failed: {status.get('message', '')}",
                hint=f"kubectl -n {self.namespace} describe signingjob {_JOB}",
            )
        self.console.print(f"[bold]{status['message']}[/bold]")
        await self._draw(course, status)

    async def _draw(self, course: RecordedCourse, status: dict[str, Any]) -> None:
        """Draws the course with the decisions that the operator keeps."""
        words = ("vaultstream", "explain", str(status["token"]), "--json", "--limit", "0")
        told = await self._kubectl("exec", "deploy/vaultstream-operator", "--", *words)
        course.decided(json.loads(told.stdout)["decisions"])
        _PICTURE.parent.mkdir(exist_ok=True)
        _PICTURE.write_text(
            course.svg(f"{self.records:,} records on one node, from 0 signers and back"), encoding="utf-8"
        )
        self.console.print(
            f"Signers, lag and records/s over time, with each decision: {_PICTURE.relative_to(ROOT)}"
        )

    async def _make_records(self) -> None:
        manifest, job = _RECORDS
        self.console.print(f"Creating {self.records:,} records in the bundled Postgres")
        await self._kubectl("delete", job, "--ignore-not-found")
        text = (ROOT / manifest).read_text(encoding="utf-8").replace("200_001", str(self.records + 1))
        await self._kubectl("apply", "-f", "-", stdin=text)
        await self._kubectl("wait", "--for=condition=Complete", job, f"--timeout={_SEED_TIMEOUT}")

    async def _show_live(self, course: RecordedCourse) -> dict[str, Any]:
        status: dict[str, Any] = {}
        with Live(console=self.console, refresh_per_second=4) as live:
            while not _has_ended(status):
                status = await self._status(course)
                live.update(picture(status))
                await asyncio.sleep(_STEP_SECONDS)
        return status

    async def _print_changes(self, course: RecordedCourse) -> dict[str, Any]:
        """Prints a line for each change, without a terminal."""
        status: dict[str, Any] = {}
        printed = ""
        while not _has_ended(status):
            status = await self._status(course)
            line = f"{status.get('state', 'Pending'):9} {status.get('progress', ''):24} signers {status.get('signers') or 0}"
            if line != printed:
                printed = line
                self.console.print(line, status.get("message", ""), soft_wrap=True, highlight=False)
            await asyncio.sleep(_STEP_SECONDS)
        return status

    async def _status(self, course: RecordedCourse) -> dict[str, Any]:
        got = await self._kubectl("get", "signingjob", _JOB, "-o", "json")
        status = dict(json.loads(got.stdout).get("status") or {})
        course.read(time.time(), status)
        return status

    async def _kubectl(self, *arguments: str, stdin: str = "") -> Output:
        program = (await binaries.ensure(["kubectl"], pinned=True))["kubectl"]
        return await run(
            program, "--kubeconfig", self.kubeconfig, "-n", self.namespace, *arguments, stdin=stdin
        )


def _has_ended(status: dict[str, Any]) -> bool:
    return status.get("state") in {"Complete", "Failed"}


def picture(status: dict[str, Any]) -> RenderableType:
    """Returns the live display of a status: progress, signers, lag, and the latest changes of the number of signers."""
    scaling = status.get("scaling", {})
    desired, ready = int(scaling.get("desired") or 0), int(scaling.get("ready") or 0)
    if _has_ended(status):
        desired = ready = 0
    facts = Table.grid(padding=(0, 2))
    facts.add_row("state", status.get("state", "Pending"))
    facts.add_row("progress", status.get("progress", ""))
    facts.add_row("signers", Text("■ " * ready, "green") + Text("□ " * max(0, desired - ready), "yellow"))
    facts.add_row("lag", _with_unit(status.get("lag"), "batches"))
    facts.add_row("rate", _with_unit(status.get("recordsPerSecond"), "records/s"))
    facts.add_row("why", "" if _has_ended(status) else scaling.get("message", ""))
    facts.add_row("", status.get("message", "") if status.get("message") != scaling.get("message") else "")
    bar = ProgressBar(total=max(1, int(status.get("records") or 1)), completed=int(status.get("signed") or 0))
    changes = Table("scaling", "", "because", box=None, header_style="dim")
    for change in scaling.get("changes", [])[-_MOST_DECISIONS:]:
        limit = f", limited by {change['limit']}" if change.get("limit") else ""
        changes.add_row(f"{change['before']} → {change['after']}", "", f"{change['reason']}{limit}")
    return Group(facts, bar, changes)


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:,.0f} {unit}"
