"""Which status is worth a write: one that says more than that time has passed since the last one."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from vaultstream_operator.api.status import JobStatus

CLOCK_INPUTS: Final = ("cooldownLeft", "deadlineSeconds", "etaSeconds")
"""Inputs of a decision that change with the clock alone."""
RATE_INPUTS: Final = ("ratePerSigner", "recordsPerSecond")
SAME_RATE: Final = 0.1
"""Share by which a rate may differ from the one that is shown: measured again, it is never quite the same."""
SAME_ETA_SECONDS: Final = 5.0
_ONCE: Final = datetime(1970, 1, 1, tzinfo=UTC)


def is_news(before: JobStatus, after: JobStatus) -> bool:
    """Returns whether a status differs from the current one in more than times that pass and rates that are about the same."""
    told, shown = _plain(after), _plain(before)
    if told != shown:
        return True
    if not _close(after.records_per_second, before.records_per_second):
        return True
    if after.eta is None or before.eta is None:
        return after.eta is not before.eta
    return abs((after.eta - before.eta).total_seconds()) > SAME_ETA_SECONDS


def _plain(status: JobStatus) -> dict[str, object]:
    """Returns a status without what changes by itself."""
    scaling = status.scaling
    if scaling is not None:
        inputs = {n: value for n, value in scaling.inputs.items() if n not in (*CLOCK_INPUTS, *RATE_INPUTS)}
        # A change that can't be made is decided again and again, each time at a later time.
        changes = tuple(change.model_copy(update={"at": _ONCE}) for change in scaling.changes)
        scaling = scaling.model_copy(update={"inputs": inputs, "changes": changes})
    return status.model_copy(update={"scaling": scaling, "eta": None, "records_per_second": None}).dump()


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= SAME_RATE * max(one, other)
