"""The configuration of a job's consumer, as JetStream reads and tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vaultstream.bus.subjects import batches_of

if TYPE_CHECKING:
    from collections.abc import Mapping

_NANOSECONDS: Final = 1_000_000_000
_MAX_WAITING: Final = 4096
_OF_THE_SERVER: Final = {"name", "description", "metadata"}
"""Settings that the server adds, or that change no delivery."""
LIMITS_OF_SERVERS: Final = frozenset({"max_batch", "max_bytes", "max_expires"})
"""Settings that every update sets back. What is left of them then is a limit in the configuration of the server."""
_OF_THE_JOB: Final = {"ack_wait", "max_ack_pending"}


def consumer_config(token: str, *, ack_wait_seconds: float, max_ack_pending: int) -> dict[str, Any]:
    """Returns what a job's consumer is created with.

    Deliveries are not limited: attempts are counted in Postgres, where they survive the consumer. The consumer always has as
    many replicas as its stream.
    """
    return {
        "durable_name": token,
        "description": "VaultStream: signers of one job",
        "filter_subject": batches_of(token),
        "deliver_policy": "all",
        "replay_policy": "instant",
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait_seconds * _NANOSECONDS),
        "max_deliver": -1,
        "max_ack_pending": max_ack_pending,
        "max_waiting": _MAX_WAITING,
    }


def differing_settings(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the names of the settings in which a consumer differs from what was wanted, known to this version or not."""
    names = (found.keys() | wanted.keys()) - _OF_THE_SERVER
    return tuple(sorted(name for name in names if (found.get(name) or None) != (wanted.get(name) or None)))


def hinders(token: str, info: Mapping[str, Any]) -> bool:
    """Returns whether a consumer of the stream has batches of a job and is not that job's: the job then gets no consumer of its own."""
    config = info["config"]
    filters = config.get("filter_subjects") or [config.get("filter_subject") or ">"]
    return bool(info["name"] != token and any(_overlap(str(each), batches_of(token)) for each in filters))


def _overlap(one: str, other: str) -> bool:
    """Returns whether a subject can match both filters."""
    ones, others = one.split("."), other.split(".")
    for mine, theirs in zip(ones, others, strict=False):
        if ">" in (mine, theirs):
            return True
        if mine != theirs and "*" not in (mine, theirs):
            return False
    return len(ones) == len(others)


def foreign_settings(token: str, found: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the same, for a job whose settings of time and number are not known."""
    wanted = consumer_config(token, ack_wait_seconds=1, max_ack_pending=1)
    return tuple(name for name in differing_settings(found, wanted) if name not in _OF_THE_JOB)
