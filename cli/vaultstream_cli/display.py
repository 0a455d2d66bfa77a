"""The live display of a run: redrawn on a terminal, one line every few seconds elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from vaultstream.plurals import counted
from vaultstream_cli.output import err, note

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vaultstream.local.runner import RunState
    from vaultstream.store.jobs import Job

LINE_SECONDS = 2.0


def duration(seconds: float | None) -> str:
    """Returns seconds in readable units: `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 10 min`; a dash for None."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:  # noqa: PLR2004
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min"


def rate_text(rate: float | None) -> str:
    """Returns a rate for people; None: unknown."""
    return "rate unknown" if rate is None else f"{rate:,.0f} records/s"


def eta_text(job: Job, seconds: float | None) -> list[str]:
    """Returns the time until a job's end as a part of a line; none once it has ended, or does so at any moment."""
    return [] if job.ended or (seconds is not None and seconds < 0.001) else [f"ETA {duration(seconds)}"]  # noqa: PLR2004


def describe_run(state: RunState) -> str:
    """Returns a run's state as one line."""
    progress, job = state.progress, state.job
    if not progress.records and not job.planned:
        line = f"planning batches · {counted(state.signers, 'signer')}"
        return f"{line} · {state.trouble}" if state.trouble else line
    share = f"{progress.settled / progress.records:.0%}" if progress.records else "-"
    total = f"{progress.records:,}" + ("" if job.planned else "+")
    parts = [
        f"{progress.settled:,} of {total} records ({share})",
        rate_text(state.rate),
        f"lag {counted(progress.batches_left, 'batch', 'batches')}",
        counted(state.signers, "signer"),
        *eta_text(job, state.eta_seconds),
    ]
    if progress.dead:
        parts.insert(1, f"{progress.dead:,} dead")
    line = " · ".join(parts)
    return f"{line} · {state.trouble}" if state.trouble else line


class RunDisplay:
    """Shows a run on standard error. A context manager; pass each state to `show`."""

    def __init__(self) -> None:
        self._live = Live(console=err, refresh_per_second=4, transient=True) if err.is_terminal else None
        self._next_line = 0.0
        self._shown_trouble: str | None = None
        self._shown_why = ""

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, state: RunState) -> None:
        """Shows a state. Without a terminal, at most one line every two seconds, except for news."""
        if self._live:
            self._live.update(_render(state))
            return
        if state.why and state.why != self._shown_why:
            note(f"{state.job.name}: {state.why[0].lower()}{state.why[1:]}")
            self._shown_why = state.why
        news = state.trouble != self._shown_trouble
        if news or time.monotonic() >= self._next_line or state.job.ended:
            note(f"{state.job.name}: {describe_run(state)}")
            self._next_line = time.monotonic() + LINE_SECONDS
            self._shown_trouble = state.trouble


def _render(state: RunState) -> RenderableType:
    progress = state.progress
    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold")
    grid.add_column()
    grid.add_row(
        state.job.name,
        ProgressBar(total=max(1, progress.records), completed=progress.settled, width=40),
    )
    grid.add_row("", describe_run(state))
    if state.why:
        grid.add_row("", state.why, style="dim")
    return grid
