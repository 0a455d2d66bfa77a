"""The names of streams and subjects."""

from __future__ import annotations

RECORDS_STREAM = "VAULTSTREAM_RECORDS"
KEYS_STREAM = "VAULTSTREAM_KEYS"


def batch_subject(token: str, batch_no: int) -> str:
    """Returns the subject on which a batch is published: `records.<job token>.<batch no>`."""
    return f"records.{token}.{batch_no}"


def batches_of(token: str) -> str:
    """Returns the subject filter for all batches of a job."""
    return f"records.{token}.*"


def key_subject(token: str, key_id: str) -> str:
    """Returns the subject whose last message is the wrapped key: `keys.<job token>.<key id>`."""
    return f"keys.{token}.{key_id}"


def keys_of(token: str) -> str:
    """Returns the subject filter for all keys of a job."""
    return f"keys.{token}.*"


_MOST_DIGITS = 18
"""Decimal digits that always fit into a bigint."""


def parse_batch_no(subject: str) -> int | None:
    """Returns the number of the batch that a subject names; None if it does not name one."""
    number = subject.rpartition(".")[2]
    return int(number) if number.isascii() and number.isdecimal() and len(number) <= _MOST_DIGITS else None
