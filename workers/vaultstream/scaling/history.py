"""The state that scaling keeps from one decision to the next, small enough for a status.

HPA keeps every recommendation and every change of the longest window. A status must stay small. So it keeps only the recommendations that a window of any length could still use (a newer one that is at least as
high hides an older one from a maximum), and beyond `MOST` entries the two closest in time are merged into one, with the later time and the full count. This is exact up to `MOST` entries and cautious beyond that: a limit applies a little longer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from statistics import median
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from vaultstream.api import ScalingBehavior, ScalingSpec
from vaultstream.api.base import Amount, Natural, Number, StatusPart
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.observation import Lag, Observation, Replicas, UnixTime
from vaultstream.scaling.reasons import LimitName
from vaultstream.scaling.throughput import Seen, learned, sample, shortfall

MOST: Final = 32
"""Maximum number of entries of each kind of recommendation and of step."""
MOST_STARTS: Final = 5
"""Maximum number of starts from which the usual one is known."""
LONGEST_START_SECONDS: Final = 120.0
"""A start that took longer counts as one of this length: an image that can't be pulled or a stopped operator was in the way."""
WAIT_STARTS: Final = 3.0
"""Signers that are not ready after so many times the usual start, or `LEAST_WAIT_SECONDS`, are no longer waited for."""
LEAST_WAIT_SECONDS: Final = 60.0
"""Seconds for which signers that were asked for are waited for at least."""
MOST_CHANGES: Final = 20
"""Maximum number of changes that are kept for people to read."""

_MOST_SIGNERS = 10**12


def _in_range(count: int) -> int:
    if count > _MOST_SIGNERS:
        raise ValueError("no job has so many signers")
    return count


def _readable(most: int) -> WrapValidator:
    """Leaves out the entries that can't be read, and the oldest beyond `most`."""

    def read(value: Any, handler: ValidatorFunctionWrapHandler) -> tuple[Any, ...]:
        with suppress(ValidationError):
            return tuple(handler(value))
        entries: list[Any] = []
        for entry in value if isinstance(value, list | tuple) else ():
            with suppress(ValidationError):
                entries += handler([entry])
        return tuple(entries[-most:])

    return WrapValidator(read)


def _time_or_none(value: Any, handler: Callable[[Any], float | None]) -> float | None:
    with suppress(ValidationError):
        return handler(value)
    return None


Signers = Annotated[Natural, AfterValidator(_in_range)]


class Change(StatusPart):
    """A change of the number of signers."""

    at: UnixTime
    """When, in seconds since 1970."""
    before: Signers
    """Number of signers before the change."""
    after: Signers
    """Number of signers after the change."""
    reason: Annotated[str, Field(max_length=63)]
    """Rule that determined the count."""
    limit: Annotated[str, Field(max_length=63)] = ""
    """Limit that applied; empty if none did."""


class Entry(StatusPart):
    """A number of signers at one time."""

    at: UnixTime
    """When, in seconds since 1970."""
    replicas: Signers
    """Number of signers recommended, added or removed."""


def active(spec: ScalingSpec, observation: Observation) -> bool:
    """Returns whether a job has enough work to run signers for.

    That is a lag above `activationLagThreshold`. Once all batches are planned, no more can come, and any lag is enough.
    """
    lag = observation.lag
    threshold = 0 if observation.progress.planned else spec.activation_lag_threshold
    return isinstance(lag, Lag) and lag.total > threshold


def _entry_or_none(value: Any, handler: Callable[[Any], Entry | None]) -> Entry | None:
    with suppress(ValidationError):
        return handler(value)
    return None


def _seen_or_none(value: Any, handler: Callable[[Any], Seen | None]) -> Seen | None:
    with suppress(ValidationError):
        return handler(value)
    return None


class Paced(StatusPart):
    """The rate of a signer, as it was measured last."""

    at: UnixTime
    """When, in seconds since 1970."""
    rate: Annotated[Amount, Field(strict=True, gt=0)]
    """Records per second of one signer."""
    error: Annotated[Amount, Field(strict=True)]
    """Its standard error, as a share of it."""


def _paced_or_none(value: Any, handler: Callable[[Any], Paced | None]) -> Paced | None:
    with suppress(ValidationError):
        return handler(value)
    return None


_Kept = TypeVar("_Kept", Entry, Seen, Change, Paced)

Span = Annotated[Number, Field(ge=0, le=LONGEST_START_SECONDS)]
Entries = Annotated[tuple[Entry, ...], Field(max_length=MOST), _readable(MOST)]


class History(StatusPart):
    """State for the next decision: stabilization windows and policies use it."""

    last_active_at: Annotated[UnixTime | None, WrapValidator(_time_or_none)] = None
    """When the job was last active, in seconds since 1970. The cooldown starts here."""
    highs: Entries = ()
    """Recommendations that the stabilization window for scale-down may still use."""
    lows: Entries = ()
    """Recommendations that the stabilization window for scale-up may still use."""
    added: Entries = ()
    """Signers added, for the scale-up policies."""
    removed: Entries = ()
    """Signers removed, for the scale-down policies."""
    seen: Annotated[tuple[Seen, ...], Field(max_length=MOST), _readable(MOST)] = ()
    """Rates measured at each number of signers. If more signers are no faster, Postgres is the limit."""
    short: Annotated[Seen | None, WrapValidator(_seen_or_none)] = None
    """What many signers signed at most, when that was far less than fewer lead to expect."""
    starting: Annotated[Entry | None, WrapValidator(_entry_or_none)] = None
    """When signers were asked for that are not all ready yet, and the number of ready ones at which half of them are."""
    starts: Annotated[tuple[Span, ...], Field(max_length=MOST_STARTS), _readable(MOST_STARTS)] = ()
    """The latest starts of signers, in seconds from asking for them until half of them were ready."""
    pace: Annotated[Paced | None, WrapValidator(_paced_or_none)] = None
    """The latest rate of a signer."""
    short_since: Annotated[UnixTime | None, WrapValidator(_time_or_none)] = None
    """Since when the finishing time can't be met, as far as is known."""
    changes: Annotated[tuple[Change, ...], Field(max_length=MOST_CHANGES), _readable(MOST_CHANGES)] = ()
    """The latest changes of the count, oldest first."""

    @model_validator(mode="before")
    @classmethod
    def _empty_if_unreadable(cls, value: object) -> object:
        return value if isinstance(value, Mapping | cls) else {}

    def startup_seconds(self, assumed: float) -> float:
        """Returns the seconds that a signer takes to start: the median of the latest starts; `assumed` if none was seen."""
        return median(self.starts) if self.starts else assumed

    def asked_seconds(self, now: float) -> float | None:
        """Returns the seconds since signers were asked for last; None: they never were. `now`: Unix seconds."""
        return next(
            (now - change.at for change in reversed(self.changes) if change.after > change.before), None
        )

    def asked_lately(self, observation: Observation, now: float) -> bool:
        """Returns whether signers were asked for so lately that those that are not ready may be starting. `now`: Unix seconds."""
        asked = self.asked_seconds(now)
        usual = self.startup_seconds(observation.timing.startup_seconds)
        return asked is not None and asked <= max(LEAST_WAIT_SECONDS, WAIT_STARTS * usual)

    def withdrawn_lately(self, seconds: float, now: float) -> bool:
        """Returns whether signers that waited for a node were withdrawn in the last `seconds`. `now`: Unix seconds."""
        return any(
            change.limit == LimitName.SCHEDULABLE and change.after < change.before
            for change in self.changes
            if now - change.at <= seconds
        )

    def awaits_signers(self, observation: Observation, now: float) -> bool:
        """Returns whether signers are starting. One that is not ready long after it was asked for is not: it may never be.

        Args:
            observation: what was observed.
            now: Unix seconds.
        """
        if observation.replicas.ready >= observation.replicas.placed:
            return False
        return observation.progress.settling or self.asked_lately(observation, now)

    def unmeasured(self, observation: Observation, now: float) -> bool:
        """Returns whether signers run that were added lately, and it is about to be seen what they sign beside fewer. `now`: Unix seconds.

        With a finishing time, a rate that is measured longer is worth more than one that is known sooner.
        """
        replicas, asked = observation.replicas, self.asked_seconds(now)
        if (
            observation.timing.finish_at is not None
            or asked is None
            or asked > LEAST_WAIT_SECONDS
            or not 0 < replicas.placed <= replicas.ready
        ):
            return False
        lately = [one.signers for one in self.seen if now - one.at <= asked]
        return bool(self.seen) and replicas.ready not in lately

    def highest(self, window: float, now: float, latest: int) -> int:
        """Returns the highest of `latest` and the recommendations of the last `window` seconds."""
        return max([latest, *(entry.replicas for entry in self.highs if entry.at > now - window)])

    def lowest(self, window: float, now: float, latest: int) -> int:
        """Returns the lowest of `latest` and the recommendations of the last `window` seconds."""
        return min([latest, *(entry.replicas for entry in self.lows if entry.at > now - window)])

    def net_change(self, period: float, now: float) -> int:
        """Returns the signers added less those removed in the last `period` seconds, by paced steps."""
        added, removed = (
            sum(entry.replicas for entry in steps if entry.at > now - period)
            for steps in (self.added, self.removed)
        )
        return added - removed

    def beginning_with(self, current: int, now: float) -> History:
        """Returns the history from which signers are decided that run although no recommendation is known, as after an upgrade.

        Like HPA, it takes the count that runs for a recommendation of now. The cooldown begins, too, if its beginning is not known.

        Args:
            current: signers that are requested now; if there are none, nothing is to be kept.
            now: Unix seconds.
        """
        if self.highs or current == 0:
            return self
        running = (Entry(at=now, replicas=current),)
        active_at = now if self.last_active_at is None else self.last_active_at
        return self.but(highs=running, lows=running, last_active_at=active_at)

    def observed(
        self, spec: ScalingSpec, observation: Observation, decision: Decision, now: float
    ) -> History:
        """Returns the history after a decision was made, carried out or not.

        Args:
            spec: the scaling spec of the decision.
            observation: the observation of the decision.
            decision: what was decided.
            now: Unix seconds, as given to `decide`.
        """
        history = self._until(now)
        if active(spec, observation):
            history = history.but(last_active_at=now)
        if decision.recommendation is not None:
            history = _recommended(history, spec.behavior, decision.recommendation, now)
        starting = history.awaits_signers(observation, now)
        if (reading := sample(observation, starting=starting)) is not None:
            history = history.but(seen=learned(history.seen, *reading, now))
        if short := shortfall(history.seen, observation.progress.most_rate, now):
            history = history.but(short=short)
        if pace := (observation.progress.pace_before if starting else observation.progress.pace):
            history = history.but(pace=Paced(at=now, rate=pace.rate, error=pace.error))
        if history.short_since != decision.short_since:
            history = history.but(short_since=decision.short_since)
        return history.after_start(observation.replicas, now)

    def scaled(self, spec: ScalingSpec, decision: Decision, now: float) -> History:
        """Returns the history after a decision that changes the count was carried out.

        Args:
            spec: what the decision used.
            decision: what was decided; a decision that keeps the count is not recorded.
            now: Unix seconds.
        """
        step = decision.desired - decision.current
        if step == 0:
            return self
        limit = str(decision.limit.name) if decision.limit else ""
        history = self._until(now).changed(
            decision.current, decision.desired, reason=str(decision.reason), limit=limit, now=now
        )
        history = history.after_request(step, decision, now)
        if not decision.paced:
            return history
        rules = spec.behavior.scale_up if step > 0 else spec.behavior.scale_down
        oldest = now - max(policy.period_seconds for policy in rules.policies)
        old = history.added if step > 0 else history.removed
        steps = _stored(old, Entry(at=now, replicas=abs(step)), oldest)
        return history.but(added=steps) if step > 0 else history.but(removed=steps)

    def after_request(self, step: int, decision: Decision, now: float) -> History:
        """Returns the history after signers were asked for. Those that are asked for while others start are not timed."""
        if step < 0 or self.starting is not None:
            return self
        ready = int(decision.inputs.get("ready", 0))
        half = ready + max(1, -(-(decision.desired - ready) // 2))
        return self.but(starting=Entry(at=now, replicas=half))

    def after_start(self, replicas: Replicas, now: float) -> History:
        """Returns the history after signers were observed. Starts are not timed while signers wait for a node. `now`: Unix seconds."""
        starting = self.starting
        if starting is not None and replicas.unplaced:
            return self.but(starting=None)
        if starting is None or replicas.ready < starting.replicas:
            return self
        seconds = min(LONGEST_START_SECONDS, max(0.0, now - starting.at))
        return self.but(starting=None, starts=(*self.starts, seconds)[-MOST_STARTS:])

    def without_unmade_change(self, current: int) -> History:
        """Returns the history without its latest change, if that starts at the current count.

        Used if the count has not been changed since: the change was decided but not applied, or is not visible yet. The count
        is decided again, and the previous decision must not count twice.

        Args:
            current: signers that are requested now.
        """
        latest = self.changes[-1] if self.changes else None
        if latest is None or latest.before != current:
            return self
        step = latest.after - latest.before
        starting = self.starting if self.starting and self.starting.at != latest.at else None
        return self.but(
            starting=starting,
            changes=self.changes[:-1],
            added=_without(self.added, latest.at, step),
            removed=_without(self.removed, latest.at, -step),
        )

    def changed(self, before: int, after: int, *, reason: str, limit: str = "", now: float) -> History:
        """Returns the history with a change of the count, for people to read.

        Args:
            before: signers before.
            after: signers after.
            reason: what made the count, in one word.
            limit: the limit that applied, in one word; empty: none.
            now: Unix seconds.
        """
        change = Change(at=now, before=before, after=after, reason=reason, limit=limit)
        starting = self.starting if after > before else None
        return self.but(starting=starting, changes=(*self.changes, change)[-MOST_CHANGES:])

    def but(self, **fields: object) -> History:
        """Returns the history with other values of these fields, which are not validated."""
        return self.model_copy(update=fields)

    def _until(self, now: float) -> History:
        # If the clock was set back, entries from the future count as of now, so that they do not apply for hours.
        return self.but(
            highs=tuple(_past(entry, now) for entry in self.highs),
            lows=tuple(_past(entry, now) for entry in self.lows),
            added=tuple(_past(entry, now) for entry in self.added),
            removed=tuple(_past(entry, now) for entry in self.removed),
            seen=tuple(_past(seen, now) for seen in self.seen),
            changes=tuple(_past(change, now) for change in self.changes),
            last_active_at=None if self.last_active_at is None else min(self.last_active_at, now),
            starting=_past(self.starting, now) if self.starting else None,
            short=_past(self.short, now) if self.short else None,
            pace=_past(self.pace, now) if self.pace else None,
            short_since=None if self.short_since is None else min(self.short_since, now),
        )


def _past(kept: _Kept, now: float) -> _Kept:
    return kept if kept.at <= now else kept.model_copy(update={"at": now})


def _without(steps: tuple[Entry, ...], at: float, step: int) -> tuple[Entry, ...]:
    return tuple(entry for entry in steps if (entry.at, entry.replicas) != (at, step))


def _stored(steps: tuple[Entry, ...], new: Entry, oldest: float) -> tuple[Entry, ...]:
    """Stores a step as HPA's `storeScaleEvent` does: in the last slot whose step is older than the direction's longest period.

    Older steps in other slots stay, because a policy of the other direction may have a longer period.
    """
    slots = list(steps)
    outdated = [slot for slot, entry in enumerate(slots) if entry.at < oldest]
    if outdated:
        slots[outdated[-1]] = new
    else:
        slots.append(new)
    if len(slots) <= MOST:
        return tuple(slots)
    return _thinned(sorted(slots, key=lambda entry: entry.at), summed=True)


def _recommended(history: History, behavior: ScalingBehavior, count: int, now: float) -> History:
    down = now - behavior.scale_down.stabilization_window_seconds
    up = now - behavior.scale_up.stabilization_window_seconds
    highs = [entry for entry in history.highs if entry.at > down and entry.replicas > count]
    lows = [entry for entry in history.lows if entry.at > up and entry.replicas < count]
    new = Entry(at=now, replicas=count)
    return history.but(highs=_thinned([*highs, new]), lows=_thinned([*lows, new]))


def _thinned(entries: list[Entry], *, summed: bool = False) -> tuple[Entry, ...]:
    """Merges the closest two while there are too many: steps are added up; of recommendations, the stricter one is kept."""
    while len(entries) > MOST:
        # the latest stays as it is: it is what holds right now
        at = min(range(len(entries) - 2), key=lambda i: entries[i + 1].at - entries[i].at)
        earlier, later = entries[at : at + 2]
        count = earlier.replicas + later.replicas if summed else earlier.replicas
        entries[at : at + 2] = [Entry(at=later.at, replicas=count)]
    return tuple(entries)
