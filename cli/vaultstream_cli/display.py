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


def describe_run(state: RunState, elapsed: float | None = None) -> str:
    """Returns a run's state as one line.

    Args:
        state: of the run.
        elapsed: seconds since the run began; None: left out.
    """
    return " · ".join(filter(None, (*_parts(state, elapsed), state.trouble)))


def _parts(state: RunState, elapsed: float | None, *, stopped: bool = False) -> tuple[str, str]:
    """Returns how far a run is, and how fast."""
    progress, job = state.progress, state.job
    spent = [] if elapsed is None else [duration(elapsed)]
    signers = counted(state.signers, "signer")
    if not progress.records and not job.planned:
        return "planning batches", " · ".join([signers, *spent])
    share = f"{progress.settled / progress.records:.0%}" if progress.records else "-"
    total = f"{progress.records:,}" + ("" if job.planned else "+")
    far = [
        f"{progress.settled:,} of {total} records ({share})",
        *([f"{progress.dead:,} dead"] if progress.dead else []),
        *([] if job.ended else [f"lag {counted(progress.batches_left, 'batch', 'batches')}"]),
    ]
    each = f", {state.rate / state.signers:,.0f} per signer" if state.rate and state.signers > 1 else ""
    fast = [rate_text(state.rate) + each, signers, *spent]
    return " · ".join(far), " · ".join(fast + (["stopped"] if stopped else eta_text(job, state.eta_seconds)))


def others_text(state: RunState) -> str:
    """Returns the workers of the job that another command has started; empty: there are none."""
    if not state.others:
        return ""
    shown = ", ".join(f"{each.role} {each.host}:{each.pid}" for each in state.others[:_OTHERS_SHOWN])
    more = f" and {len(state.others) - _OTHERS_SHOWN} more" if len(state.others) > _OTHERS_SHOWN else ""
    return f"another command works on this job too ({shown}{more}); each record is signed once"


_OTHERS_SHOWN = 4


class RunDisplay:
    """Shows a run on standard error. A context manager; pass each state to `show`."""

    def __init__(self) -> None:
        self._live = Live(console=err, refresh_per_second=4, transient=False) if err.is_terminal else None
        self._next_line = 0.0
        self._shown_trouble: str | None = None
        self._shown_why = ""
        self._shown_others = False
        self._began = time.monotonic()
        self._last: RunState | None = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._live:
            if kind and self._last:  # what stays on the screen promises no end
                self._live.update(self._rendered(self._last, stopped=True))
            self._live.stop()

    def show(self, state: RunState) -> None:
        """Shows a state. Without a terminal, at most one line every two seconds, except for news."""
        self._last = state
        if self._live:
            self._live.update(self._rendered(state))
            return
        if state.others and not self._shown_others:
            note(f"{state.job.name}: {others_text(state)}")
        self._shown_others = bool(state.others)
        if state.why and state.why != self._shown_why:
            note(f"{state.job.name}: {state.why[0].lower()}{state.why[1:]}")
            self._shown_why = state.why
        news = state.trouble != self._shown_trouble
        if news or time.monotonic() >= self._next_line or state.job.ended:
            note(f"{state.job.name}: {describe_run(state, time.monotonic() - self._began)}")
            self._next_line = time.monotonic() + LINE_SECONDS
            self._shown_trouble = state.trouble

    def _rendered(self, state: RunState, *, stopped: bool = False) -> RenderableType:
        progress = state.progress
        grid = Table.grid(padding=(0, 1))
        grid.add_column(style="bold")
        grid.add_column()
        grid.add_row(
            state.job.name,
            ProgressBar(total=max(1, progress.records), completed=progress.settled, width=40),
        )
        for line in _parts(state, time.monotonic() - self._began, stopped=stopped):
            grid.add_row("", line)
        for news in filter(None, (state.trouble, state.why, others_text(state))):
            grid.add_row("", news, style="dim")
        return grid
