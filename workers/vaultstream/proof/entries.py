"""The entries of logs: canonical JSON, each with the type that says what it is.

A job's log has its batch statements (`vaultstream.proof.dsse`), dead letters, revocations and audit events. The installation's
log has what is planned for a job and how it was sealed (`vaultstream.proof.seal`). An entry's bytes are the data of its leaf.

    {"batch":3,"diedAt":"2026-01-02T03:04:05.678901Z",…,"type":"application/vnd.vaultstream.dead-letter.v1+json"}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from vaultstream.errors import ProofError
from vaultstream.proof.canonical import canonical_text, parse_canonical
from vaultstream.proof.merkle import leaf_hash

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_FIRST = datetime(1000, 1, 1, tzinfo=UTC)
"""Earlier years are written with fewer digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEntry:
    """Something that happened to a job.

    Members are the fields in camelCase: text and integers as they are, times in UTC with microseconds, digests in hex.
    """

    kind: ClassVar[str]
    """The member `type`."""

    job_token: str

    @property
    def data(self) -> bytes:
        """The bytes of the entry.

        Raises:
            ProofError: a value can't be in one.
        """
        members = {_member(field.name): _encoded(getattr(self, field.name)) for field in fields(self)}
        return canonical_text({"type": self.kind, **members}).encode()

    @property
    def leaf(self) -> bytes:
        """The hash of the entry's leaf."""
        return leaf_hash(self.data)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads an entry of this type.

        Raises:
            ProofError: it is none.
        """
        values = parse_canonical(data)
        try:
            entry = cls(
                **{
                    field.name: _DECODERS[str(field.type)](values[_member(field.name)])
                    for field in fields(cls)
                }
            )
        except (KeyError, TypeError, ValueError):
            raise ProofError(f"The entry is not one of type {cls.kind}.") from None
        # The entry that was read has no other members, and no other texts of the same values.
        if entry.data != data:
            raise ProofError(f"The entry has more than one of type {cls.kind}, or another type.")
        return entry


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterEntry(LogEntry):
    """A record that was not signed. If it is retried and signed, a later statement has it."""

    kind = "application/vnd.vaultstream.dead-letter.v1+json"

    batch: int
    record_id: str
    reason: str
    message: str
    died_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationEntry(LogEntry):
    """A key that was revoked."""

    kind = "application/vnd.vaultstream.revocation.v1+json"

    key_id: str
    public_key_sha256: bytes
    """Of the SubjectPublicKeyInfo in DER."""
    reason: str
    revoked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry(LogEntry):
    """What somebody did to the job."""

    kind = "application/vnd.vaultstream.audit-event.v1+json"

    number: int
    """Of the event, from 1 in each job. A gap is an event that was removed."""
    action: str
    """Such as `create`, `suspend`, `retry`, `revoke`, `rewrap`, `delete` or `export`."""
    login: str
    """To Postgres."""
    arguments: Mapping[str, str]
    at: datetime


def _member(name: str) -> str:
    """Returns the name of a member: `record_id` is `recordId`, `public_key_sha256` is `publicKeySha256`."""
    return re.sub("_(.)", lambda match: match[1].upper(), name)


def _encoded(value: Any) -> Any:
    match value:
        case datetime():
            if value.utcoffset() is None or value < _FIRST:
                raise ProofError(f"The time {value} can't be in an entry of a log.")
            try:
                return value.astimezone(UTC).strftime(_TIME)
            except OverflowError:  # it is after the year 9999
                raise ProofError(f"The time {value} can't be in an entry of a log.") from None
        case bytes():
            return value.hex()
        case Mapping():
            return dict(value)
        case _:
            return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _time(value: Any) -> datetime:
    return datetime.strptime(value, _TIME).replace(tzinfo=UTC)


def _texts(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise TypeError
    return {name: _text(each) for name, each in value.items()}


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "str": _text,
    "int": _integer,
    "bytes": bytes.fromhex,
    "datetime": _time,
    "Mapping[str, str]": _texts,
}
"""By the type of a field, as it is written above."""
