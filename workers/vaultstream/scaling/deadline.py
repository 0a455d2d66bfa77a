"""How many signers end a job by its finishing time, and whether any number can.

The reserve is what the rate may fall, and what is not known of it: it shrinks as the rate is measured for longer. Signers that run are
enough as long as they may be, within the error of the rate, while there is time to add others. Near the end they must be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final

from vaultstream.scaling.observation import Observation
from vaultstream.scaling.pace import SignerPace

RESERVE: Final = 0.05
"""Share of the time left that is planned for a rate that falls."""
MOST_RESERVE: Final = 0.10
"""The same at most, with the error of the rate."""
SPARE: Final = 0.08
"""Share of the time left that remains when signers are removed."""
AIM: Final = 1 - SPARE
"""Share of the time left in which a job should end by what earlier jobs have shown."""
FAR_STARTS: Final = 12.0
"""A finishing time that is farther than so many starts of a signer leaves the time to measure a few signers first."""
LATE_STARTS: Final = 4.0
"""Starts of a signer before the finishing time from which signers that run must be enough without luck."""
WORTH_STARTS: Final = 0.25
"""Starts of a signer for which one that is added to others has to sign at least."""
LAST_BATCH: Final = 60.0
"""Seconds at most that the last batch is expected to take: longer ones are no reason to hurry."""
ENOUGH_ERROR: Final = 0.06
"""Error of a rate, as a share, from which on the signers of the first step have shown enough."""
FIRST_ERROR: Final = 0.12
"""The same of signers of which others are still starting: no more are asked for than are needed if they sign faster by `KEPT_ERRORS`."""
FEW_MORE: Final = 1.1
"""As many times the signers that run are no reason to add any while some are starting."""
UNSURE: Final = 0.1
"""Error of a rate whose error is not known, as a share."""
OTHER_MACHINE: Final = 0.25
"""Error of what earlier jobs have shown, as a share: it may be of another machine."""
PLANNED_ERRORS: Final = 1.0
"""Errors by which a rate may be higher than it was measured when signers are added while there is time to look again."""
KEPT_ERRORS: Final = 2.0
"""The same for signers that run to count as enough."""
SURE: Final = 2.0
"""Errors by which a rate may be higher before the finishing time counts as missed."""

_MOST = 10**9  # signers, or seconds: what asks for more can't be met


@dataclass(frozen=True, slots=True)
class Shortfall:
    """By how much the signers that may run miss a finishing time, at the rate as it is measured.

    Attributes:
        records: left at the finishing time.
        late: seconds by which the job ends later.
        needed: signers that would be enough; None: no number would.
        most: signers that may run.
    """

    records: int
    late: float
    needed: int | None
    most: int

    def clause(self) -> str:
        """Returns it as a clause for people, with two digits: it is an estimate."""
        text = f"about {_rough(self.records):,} records would be left then, and it would end {_rough(self.late):,} s later"
        return text if self.needed is None else f"{text}; {self.needed} signers would be enough"

    def facts(self) -> dict[str, int]:
        """Returns its numbers as inputs of a decision."""
        known = {"shortfallRecords": _rough(self.records), "shortfallSeconds": _rough(self.late)}
        return known if self.needed is None else {**known, "signersNeeded": self.needed}


@dataclass(frozen=True, slots=True)
class Deadline:
    """The signers that a finishing time requires.

    Attributes:
        needed: signers that are enough; None: more than may run, or the time is too short for a new one.
        seconds: until the finishing time; negative: it has passed.
        left: records left, or expected to be.
        rate: records per second of one signer.
        formula: how `needed` was computed, with its numbers.
        shortfall: None: the signers that may run are enough at the rate as it is measured.
        hopeless: they are not, even at a rate that is higher by `SURE` errors.
    """

    needed: int | None
    seconds: float
    left: int
    rate: float
    formula: str
    shortfall: Shortfall | None = None
    hopeless: bool = False


@dataclass(frozen=True, slots=True)
class _Means:
    """What a finishing time is to be met with.

    Attributes:
        running: signers that sign, or are starting.
        starting: those of them that are not ready.
        waiting: signer-seconds until those that are starting sign.
    """

    left: int
    rate: float
    error: float
    running: int
    starting: int
    waiting: float
    seconds: float
    start: float
    drain: float

    def signed(self, share: float, rate: float) -> float:
        """Returns the records that the running signers sign in this share of the time left."""
        return rate * max(0.0, self.running * (share * self.seconds - self.drain) - self.waiting)

    def each(self, share: float, rate: float) -> float:
        """Returns the records that a further signer signs in this share of the time left."""
        return rate * max(0.0, share * self.seconds - self.start - self.drain)

    def needed(self, share: float, rate: float) -> int | None:
        """Returns the signers that are enough in this share of the time left, those that run included; None: no number is."""
        rest, each = self.left - self.signed(share, rate), self.each(share, rate)
        if rest <= 0:
            return self.running
        return None if rest > each * _MOST else self.running + ceil(rest / each)

    def short(self, most: int, rate: float, later: float = 0.0) -> float:
        """Returns the records that so many signers leave at the finishing time, if those that are missing are asked for so many seconds later."""
        each = rate * max(0.0, self.seconds - later - self.start - self.drain)
        return self.left - self.signed(1, rate) - max(0, most - self.running) * each

    def late(self, most: int) -> float:
        """Returns the seconds by which so many signers, more than 0, miss the finishing time: 10⁹ at most."""
        work = self.left / self.rate + self.waiting
        more = max(0, most - self.running)
        ends = [(work + most * self.drain + more * self.start) / most]
        if self.running:
            ends.append(work / self.running + self.drain)
        return min(*ends, self.seconds + _MOST) - self.seconds


def _rough(number: float) -> int:
    return round(float(f"{ceil(number):.1e}")) if number >= 100 else ceil(number)  # noqa: PLR2004 - two digits


def deadline_of(
    observation: Observation, *, left: int, pace: SignerPace, seconds: float, most: int
) -> Deadline:
    """Returns the signers that end a job in time.

    Args:
        observation: what was observed.
        left: records left, or expected to be.
        pace: of one signer; more than 0.
        seconds: until the finishing time.
        most: signers that may run.
    """
    timing, replicas = observation.timing, observation.replicas
    starting = replicas.placed - replicas.ready if timing.waiting_seconds is not None else 0
    batches = observation.progress.batches_left
    means = _Means(
        left=left,
        rate=pace.rate,
        error=pace.error,
        running=replicas.ready + starting,
        starting=starting,
        waiting=starting * (timing.waiting_seconds or 0.0),
        seconds=seconds,
        start=timing.startup_seconds,
        drain=timing.drain_seconds + (min(left / batches / pace.rate, LAST_BATCH) if batches else 0.0),
    )
    needed, formula = _planned(means, replicas.current, most)
    short = means.short(most, means.rate)
    shortfall = None
    if short > 0 and most > 0:
        shortfall = Shortfall(
            ceil(short), means.late(most), means.needed(1 - _reserve(means), means.rate), most
        )
    # Nothing is reserved for the end: in the last seconds, the drain alone would make each job look late.
    hopeless = replace(means, drain=0.0).short(most, means.rate * (1 + SURE * means.error)) > 0
    return Deadline(needed, seconds, left, means.rate, formula, shortfall, hopeless)


def _reserve(means: _Means) -> float:
    return min(MOST_RESERVE, RESERVE + means.error)


def _planned(means: _Means, current: int, most: int) -> tuple[int | None, str]:
    """Returns the signers that are enough, None: more than may run, and how they were computed."""
    surely = means.rate * max(0.0, 1 - SURE * means.error)
    fewest = _enough(means, AIM, surely)
    if not means.starting and fewest is not None and fewest <= means.running:
        terms = f"{means.rate:.4g} · {surely / means.rate:.3g} · ({AIM:g} · {means.seconds:.0f} s - {means.drain:.3g} s drain)"
        return fewest, f"⌈{means.left} / ({terms})⌉ = {fewest}"
    # While there is time to look again, and room for more, what is not known of the rate costs no signers.
    early = means.seconds > LATE_STARTS * means.start
    room = means.short(most, means.rate * (1 - means.error), later=means.start) <= 0
    patient = early and room
    rate, hoped = means.rate, means.rate
    if patient:
        rate = means.rate * (1 + PLANNED_ERRORS * means.error)
        hoped = means.rate * (1 + KEPT_ERRORS * means.error)
    share = 1 - (RESERVE if room else _reserve(means))
    keep = 1 - RESERVE / 2 if 2 * means.seconds > LATE_STARTS * means.start else 1.0
    if means.running and means.left <= means.signed(keep, hoped):
        terms = f"{means.running} · {means.rate:.4g} · {hoped / means.rate:.3g} · ({keep:.3g} · {means.seconds:.0f} s - {means.drain:.3g} s drain)"
        waits = f" - {means.waiting:.0f} signer-seconds until they are ready" if means.waiting else ""
        return current, f"{means.left} ≤ {terms}{waits}"
    if patient and means.starting:
        surely_needed = means.needed(share, hoped)
        if surely_needed is None or surely_needed <= FEW_MORE * current or means.error > FIRST_ERROR:
            return current, f"{means.starting} are starting, and there is time to see what they sign"
        rate = hoped
    each = share * means.seconds - means.start - means.drain
    soon = means.left / means.rate < means.running * (1 + WORTH_STARTS) * means.start  # all is signed by then
    if means.running and each < WORTH_STARTS * means.start and (each > 0 or soon):
        return (
            current,
            f"{share:.3g} · {means.seconds:.0f} s - {means.start:.3g} s start - {means.drain:.3g} s drain = {each:.2g} s: too late for another",
        )
    count = means.needed(share, rate)
    found = f"more than {most}" if count is None or count > most else count
    if (count is None or count > most) and means.short(most, means.rate) <= 0:
        count = most  # without the reserve
    if count is not None and count > most:
        count = None
    shown = f"{means.rate:.4g} · {rate / means.rate:.3g}" if patient else f"{rate:.4g}"
    terms = f"{shown} · ({share:.3g} · {means.seconds:.0f} s - {means.start:g} s start - {means.drain:.3g} s drain)"
    if not means.running:
        return count, f"⌈{means.left} / ({terms})⌉ = {found}"
    signed = means.signed(share, rate)
    return (
        count,
        f"{means.running} + ⌈({means.left} - {signed:.0f} by {means.running}) / ({terms})⌉ = {found}",
    )


def _enough(means: _Means, share: float, rate: float) -> int | None:
    """Returns the signers of which none has to start that are enough in this share of the time left; None: no number is."""
    each = rate * max(0.0, share * means.seconds - means.drain)
    return None if means.left > each * _MOST else ceil(means.left / each)


def expected_deadline(observation: Observation, *, left: int, seconds: float, most: int) -> Deadline | None:
    """Returns what earlier jobs lead to expect before a rate is known; None: they say nothing of so many signers.

    Args:
        observation: what was observed.
        left: records left, or expected to be.
        seconds: until the finishing time.
        most: signers that may run.
    """
    learned = observation.learned
    if learned is None or not 0 < most <= learned.most:
        return None
    pace = SignerPace(learned.curve(most) / most, OTHER_MACHINE)
    return deadline_of(observation, left=left, pace=pace, seconds=seconds, most=most)


def short_since(before: float | None, deadline: Deadline | None, *, poll: float, now: float) -> float | None:
    """Returns since when a finishing time can't be met; None: it can, as far as is known.

    One reading that says so is not believed: only after another poll is it reported, and then until the rate as it is measured is enough.

    Args:
        before: what the decision before returned.
        deadline: as it is seen now; None: nothing is known of it now.
        poll: seconds from one poll to the next.
        now: Unix seconds.
    """
    if deadline is None:
        return before
    if deadline.hopeless:
        return now if before is None else min(before, now)
    told = before is not None and now - before >= poll
    return before if told and deadline.shortfall is not None else None
