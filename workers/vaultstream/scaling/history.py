"""What a job's scaling has to remember from one decision to the next, small enough for its status.

HPA keeps every recommendation and every change of the longest window. A status must not grow so: of the
recommendations, only those are kept that a window of any length could still turn on (a newer one that is at least as
high hides an older one from a maximum), and beyond `MOST` entries the two closest in time become one, dated as the
later and counted in full. That is exact up to `MOST` entries and cautious beyond: a limit holds a little longer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, NamedTuple, TypeVar

from vaultstream.api import ScalingBehavior, ScalingSpec
from vaultstream.scaling.decision import Decision
from vaultstream.scaling.observation import Lag, Observation
from vaultstream.scaling.throughput import Seen, learned, sample

MOST: Final = 32
"""Entries that are kept of each kind of recommendation and of step."""
MOST_CHANGES: Final = 20
"""Changes of the count that are kept for people to read."""

_LATEST = 1e12  # no time and no count in a status is beyond
_T = TypeVar("_T")


class Entry(NamedTuple):
    """A number of signers at a time: recommended, added or removed.

    Attributes:
        at: Unix seconds.
        replicas: signers.
    """

    at: float
    replicas: int


class Change(NamedTuple):
    """A change of the count, for people to read.

    Attributes:
        at: Unix seconds.
        before: signers before.
        after: signers after.
        reason: the `Reason` as text.
        limit: the `LimitName` as text; empty: nothing bound it.
    """

    at: float
    before: int
    after: int
    reason: str
    limit: str


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of a job's scaling. Empty to begin with.

    Attributes:
        highs: recommendations that a maximum over a window can still turn on, oldest first, falling.
        lows: recommendations that a minimum over a window can still turn on, oldest first, rising.
        added: steps up that the policies count.
        removed: steps down that the policies count, as positive numbers.
        seen: what so many signers were seen to sign.
        changes: the latest changes of the count.
        last_active_at: when the lag last exceeded `activationLagThreshold`; None: never seen.
    """

    highs: tuple[Entry, ...] = ()
    lows: tuple[Entry, ...] = ()
    added: tuple[Entry, ...] = ()
    removed: tuple[Entry, ...] = ()
    seen: tuple[Seen, ...] = ()
    changes: tuple[Change, ...] = ()
    last_active_at: float | None = None

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

    def observed(
        self, spec: ScalingSpec, observation: Observation, decision: Decision, now: float
    ) -> History:
        """Returns the history after a decision was made, carried out or not.

        Args:
            spec: what the decision went by.
            observation: likewise.
            decision: what was decided.
            now: Unix seconds, as given to `decide`.
        """
        history = self._until(now)
        lag = observation.lag
        if isinstance(lag, Lag) and lag.total > spec.activation_lag_threshold:
            history = replace(history, last_active_at=now)
        if decision.recommendation is not None:
            history = _recommended(history, spec.behavior, decision.recommendation, now)
        changed_at = history.changes[-1].at if history.changes else None
        if (reading := sample(observation, steady_since=changed_at, now=now)) is not None:
            history = replace(history, seen=learned(history.seen, *reading, now))
        return history

    def scaled(self, spec: ScalingSpec, decision: Decision, now: float) -> History:
        """Returns the history after a decision that changes the count was carried out.

        Args:
            spec: what the decision went by.
            decision: what was decided; nothing is remembered of one that keeps the count.
            now: Unix seconds.
        """
        step = decision.desired - decision.current
        if step == 0:
            return self
        change = Change(
            now,
            decision.current,
            decision.desired,
            str(decision.reason),
            str(decision.limit.name) if decision.limit else "",
        )
        history = self._until(now)
        history = replace(history, changes=(*history.changes, change)[-MOST_CHANGES:])
        if not decision.paced:
            return history
        rules = spec.behavior.scale_up if step > 0 else spec.behavior.scale_down
        oldest = now - max(policy.period_seconds for policy in rules.policies)
        old = history.added if step > 0 else history.removed
        steps = _thinned([*(e for e in old if e.at > oldest), Entry(now, abs(step))], summed=True)
        return replace(history, added=steps) if step > 0 else replace(history, removed=steps)

    def without_unmade_change(self, current: int) -> History:
        """Returns the history without its latest change, if that was to begin at the count there is.

        For when nobody has touched the count since: the change was decided and never made, or is not to be seen yet.
        The count is decided anew, and what was decided before must not count as well.

        Args:
            current: signers that are asked for now.
        """
        latest = self.changes[-1] if self.changes else None
        if latest is None or latest.before != current:
            return self
        step = latest.after - latest.before
        return replace(
            self,
            changes=self.changes[:-1],
            added=_without(self.added, Entry(latest.at, step)),
            removed=_without(self.removed, Entry(latest.at, -step)),
        )

    def dump(self) -> dict[str, Any]:
        """Returns the history ready for JSON."""
        return {
            "lastActiveAt": self.last_active_at,
            "highs": [entry._asdict() for entry in self.highs],
            "lows": [entry._asdict() for entry in self.lows],
            "added": [entry._asdict() for entry in self.added],
            "removed": [entry._asdict() for entry in self.removed],
            "seen": [asdict(seen) for seen in self.seen],
            "changes": [change._asdict() for change in self.changes],
        }

    @classmethod
    def load(cls, data: object) -> History:
        """Returns the history that `dump` gave. What can't be read is left out: it must not keep a job from scaling."""
        fields = data if isinstance(data, Mapping) else {}
        return cls(
            highs=_read(fields.get("highs"), _entry),
            lows=_read(fields.get("lows"), _entry),
            added=_read(fields.get("added"), _entry),
            removed=_read(fields.get("removed"), _entry),
            seen=_read(fields.get("seen"), _seen),
            changes=_read(fields.get("changes"), _change),
            last_active_at=next(iter(_read([fields.get("lastActiveAt")], _time)), None),
        )

    def _until(self, now: float) -> History:
        # A clock that was set back must not make entries count for hours: what is in the future is of now.
        def past(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            return tuple(Entry(min(entry.at, now), entry.replicas) for entry in entries)

        return replace(
            self,
            highs=past(self.highs),
            lows=past(self.lows),
            added=past(self.added),
            removed=past(self.removed),
            seen=tuple(replace(seen, at=min(seen.at, now)) for seen in self.seen),
            changes=tuple(change._replace(at=min(change.at, now)) for change in self.changes),
            last_active_at=None if self.last_active_at is None else min(self.last_active_at, now),
        )


def _without(steps: tuple[Entry, ...], step: Entry) -> tuple[Entry, ...]:
    return steps[:-1] if steps and steps[-1] == step else steps


def _recommended(history: History, behavior: ScalingBehavior, count: int, now: float) -> History:
    down = now - behavior.scale_down.stabilization_window_seconds
    up = now - behavior.scale_up.stabilization_window_seconds
    highs = [entry for entry in history.highs if entry.at > down and entry.replicas > count]
    lows = [entry for entry in history.lows if entry.at > up and entry.replicas < count]
    new = Entry(now, count)
    return replace(history, highs=_thinned([*highs, new]), lows=_thinned([*lows, new]))


def _thinned(entries: list[Entry], *, summed: bool = False) -> tuple[Entry, ...]:
    """Joins the closest two while there are too many: steps add up, of recommendations the earlier limits more."""
    while len(entries) > MOST:
        # the latest stays as it is: it is what holds right now
        at = min(range(len(entries) - 2), key=lambda i: entries[i + 1].at - entries[i].at)
        earlier, later = entries[at : at + 2]
        count = earlier.replicas + later.replicas if summed else earlier.replicas
        entries[at : at + 2] = [Entry(later.at, count)]
    return tuple(entries)


def _read(data: object, read: Callable[[Any], _T]) -> tuple[_T, ...]:
    entries: list[_T] = []
    for value in data if isinstance(data, list) else []:
        with contextlib.suppress(KeyError, TypeError, ValueError):
            entries.append(read(value))
    return tuple(entries)


def _time(value: Any) -> float:
    if isinstance(value, int | float) and abs(value) <= _LATEST:
        return float(value)
    raise ValueError


def _whole(value: Any) -> int:
    if isinstance(value, int) and 0 <= value <= _LATEST:
        return value
    raise ValueError


def _entry(value: Any) -> Entry:
    return Entry(_time(value["at"]), _whole(value["replicas"]))


def _change(value: Any) -> Change:
    before, after = _whole(value["before"]), _whole(value["after"])
    return Change(_time(value["at"]), before, after, str(value["reason"]), str(value["limit"]))


def _seen(value: Any) -> Seen:
    signers, samples = _whole(value["signers"]), _whole(value["samples"])
    if signers == 0:
        raise ValueError
    return Seen(signers, _time(value["rate"]), samples, _time(value["at"]))
