"""How many signers are worth their start: the fewest that end a job about as early as all that may run.

A signer that is added takes its start, while the others go on: with n signers that run, N of them end the work after
start + (left - n · rate · start) / (N · rate). More signers shorten only the second term.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

from vaultstream.scaling.curve import Curve

FIRST_STEP: Final = 4
"""Signers that run until the rate of a signer is known: enough for a small job, and too few to waste much."""
SLACK: Final = 1.1
"""How much longer than with all signers that may run a job may take, so that those that gain little are not started."""

LEAST_WORK: Final = 0.5
"""Starts of a signer for which each that is started has work at least: in a job of seconds, most would only start and leave."""


@dataclass(frozen=True, slots=True)
class Worth:
    """The signers that are worth their start, and how their number was computed."""

    signers: int
    formula: str


def worth(left: int, rate: float, *, running: int, most: int, startup: float, at_least: float = 0.0) -> Worth:
    """Returns the fewest signers that end the work within `SLACK` of the earliest end, or within one start.

    Args:
        left: records that are still to be signed.
        rate: records per second of one signer; more than 0.
        running: signers that run or are starting.
        most: signers that may run; at least 1.
        startup: seconds until a new signer signs.
        at_least: seconds that the work takes however many signers run: until all of it is planned.
    """
    work = left / rate  # in seconds of one signer
    most = _paid(work, running, most, startup)
    rest = max(0.0, work - running * startup)
    earliest = work / running if running and most <= running else startup + rest / most
    if running:
        earliest = min(earliest, work / running)
    earliest = max(earliest, at_least)
    target = max(SLACK * earliest, startup)
    enough = max(1, ceil(work / target)) if target > 0 else most
    if enough <= running:
        return Worth(min(enough, most), f"⌈{left} / ({rate:.6g} · {target:.4g} s)⌉ = {enough}")
    spare = target - startup
    count = most if rest > most * spare else max(running + 1, ceil(rest / spare))
    terms = f"{target:.4g} s - {startup:.3g} s start"
    done = f" - {running} · {rate:.6g} · {startup:.3g}" if running else ""
    numerator = f"({left}{done})" if done else f"{left}"
    return Worth(min(count, most), f"⌈{numerator} / ({rate:.6g} · ({terms}))⌉ = {count}")


def worth_by_curve(
    left: int, curve: Curve, *, running: int, most: int, startup: float, at_least: float = 0.0
) -> Worth:
    """Returns the fewest signers with which the work ends within `SLACK` of the earliest end, by what signers sign together.

    Args:
        left: records that are still to be signed.
        curve: what a number of signers signs.
        running: signers that run or are starting.
        most: signers that may run; at least 1.
        startup: seconds until a new signer signs.
        at_least: as of `worth`.
    """
    most = _paid(left / curve(1), running, most, startup)
    ends = {count: _end(left, curve, running, count, startup) for count in range(1, most + 1)}
    target = SLACK * max(min(ends.values()), at_least)
    count = next(count for count in range(1, most + 1) if ends[count] <= target)
    first = f"{startup:.3g} s start + " if count > running else ""
    formula = f"{first}{left} / X({count}) = {ends[count]:.4g} s ≤ {target:.4g} s, {curve.formula}"
    return Worth(count, formula)


def _paid(work: float, running: int, most: int, startup: float) -> int:
    """Returns how many signers at most have `LEAST_WORK`; those that run need no start. `work`: in seconds of one signer."""
    if startup <= 0:
        return most
    return min(most, max(1, running, ceil(min(work / (LEAST_WORK * startup), most))))


def enough_by_curve(left: int, curve: Curve, *, most: int, seconds: float) -> Worth:
    """Returns the fewest signers that sign the records in so many seconds, by what signers sign together; those that sign most if none do.

    Args:
        left: records that are still to be signed.
        curve: what a number of signers signs.
        most: signers that may run; at least 1.
        seconds: in which they are to be signed; may be negative.
    """
    count = next((n for n in range(1, most + 1) if seconds > 0 and left <= curve(n) * seconds), None)
    if count is None:
        count = curve.knee(most)
    return Worth(
        count, f"{left} / X({count}) = {left / curve(count):.4g} s for {seconds:.4g} s, {curve.formula}"
    )


def _end(left: int, curve: Curve, running: int, count: int, startup: float) -> float:
    """Returns the seconds until the end with `count` signers, of which `running` run already."""
    if count <= running:
        return left / curve(count)
    rest = max(0.0, left - curve(running) * startup)
    return startup + rest / curve(count) if rest or not running else left / curve(running)
