"""How many signers are worth their start: the fewest that end a job about as early as all that may run.

A signer that is added takes its start, while the others go on: with n signers that run, N of them end the work after
start + (left - n · rate · start) / (N · rate). More signers shorten only the second term.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Final

FIRST_STEP: Final = 4
"""Signers that run until the rate of a signer is known: enough for a small job, and too few to waste much."""
SLACK: Final = 1.1
"""How much longer than with all signers that may run a job may take, so that those that gain little are not started."""


@dataclass(frozen=True, slots=True)
class Worth:
    """The signers that are worth their start, and how their number was computed."""

    signers: int
    formula: str


def worth(left: int, rate: float, *, running: int, most: int, startup: float) -> Worth:
    """Returns the fewest signers that end the work within `SLACK` of the earliest end, or within one start.

    Args:
        left: records that are still to be signed.
        rate: records per second of one signer; more than 0.
        running: signers that run or are starting.
        most: signers that may run; at least 1.
        startup: seconds until a new signer signs.
    """
    work = left / rate  # in seconds of one signer
    rest = max(0.0, work - running * startup)
    earliest = work / running if running and most <= running else startup + rest / most
    if running:
        earliest = min(earliest, work / running)
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
