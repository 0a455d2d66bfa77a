"""The roles of worker processes."""

from __future__ import annotations

from enum import StrEnum


class WorkerRole(StrEnum):
    """What a worker process does: its name in commands, labels, logs and application names."""

    KEYS = "keys"
    """Creates the keys of a job and publishes them."""
    RECORDS = "records"
    """Plans and publishes batches, and follows the job to its end."""
    SIGNING = "signing"
    """Signs batches."""
