"""What each role may do on NATS: one user a role, with the subjects that its work needs and no others.

NATS checks the subject that is published or subscribed to. It does not check what stands in a request's body, nor the
subject that a request names for its answer; so these rules keep roles apart, and Postgres decides what is true.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM

_API = "$JS.API"


class BusRole(StrEnum):
    """A part of VaultStream that has a NATS user of its own."""

    OPERATOR = "operator"
    KEYS = "keys"
    RECORDS = "records"
    SIGNING = "signing"
    AUDITOR = "auditor"
    """A person who looks: status, doctor, debug streams."""


@dataclass(frozen=True)
class Permissions:
    """The subjects that a user may publish and subscribe to; all others are refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def to_config(self) -> dict[str, dict[str, list[str]]]:
        """Returns what stands under `permissions` of a user in nats-server's configuration."""
        return {"publish": {"allow": list(self.publish)}, "subscribe": {"allow": list(self.subscribe)}}


def inbox_prefix(role: str) -> str:
    """Returns what the subjects begin with on which a role is answered, so that no role hears another's answers.

    Whoever is none of the roles has the usual one.
    """
    return f"_INBOX_{role}" if role in set(BusRole) else "_INBOX"


_PUBLISH: dict[BusRole, tuple[str, ...]] = {
    # The lag of each job; and at its end, all that it has in JetStream goes.
    BusRole.OPERATOR: (
        f"{_API}.CONSUMER.INFO.{RECORDS_STREAM}.*",
        f"{_API}.CONSUMER.DELETE.{RECORDS_STREAM}.*",
        f"{_API}.STREAM.PURGE.{RECORDS_STREAM}",
        f"{_API}.STREAM.PURGE.{KEYS_STREAM}",
    ),
    BusRole.KEYS: (
        "keys.*.*",
        f"{_API}.STREAM.INFO.{KEYS_STREAM}",
        f"{_API}.STREAM.CREATE.{KEYS_STREAM}",
        f"{_API}.STREAM.UPDATE.{KEYS_STREAM}",  # more replicas, where it was made with fewer
        f"{_API}.STREAM.PURGE.{KEYS_STREAM}",
    ),
    BusRole.RECORDS: (
        "records.*.*",
        f"{_API}.STREAM.INFO.{RECORDS_STREAM}",
        f"{_API}.STREAM.CREATE.{RECORDS_STREAM}",
        f"{_API}.STREAM.UPDATE.{RECORDS_STREAM}",  # more replicas, where it was made with fewer
        f"{_API}.STREAM.PURGE.{RECORDS_STREAM}",
        f"{_API}.CONSUMER.INFO.{RECORDS_STREAM}.*",
        f"{_API}.CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.*",
        f"{_API}.CONSUMER.DELETE.{RECORDS_STREAM}.*",
    ),
    # Pulls and acknowledges batches; listens to keys by an ordered consumer, with its flow control.
    BusRole.SIGNING: (
        f"{_API}.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.*",
        f"$JS.ACK.{RECORDS_STREAM}.>",
        f"{_API}.CONSUMER.CREATE.{KEYS_STREAM}",
        f"{_API}.CONSUMER.INFO.{KEYS_STREAM}.*",
        f"$JS.FC.{KEYS_STREAM}.>",
    ),
    BusRole.AUDITOR: (
        f"{_API}.INFO",
        *(
            f"{_API}.{what}"
            for stream in (RECORDS_STREAM, KEYS_STREAM)
            for what in (f"STREAM.INFO.{stream}", f"CONSUMER.LIST.{stream}", f"CONSUMER.INFO.{stream}.*")
        ),
    ),
}


def permissions(role: BusRole) -> Permissions:
    """Returns what a role may do; it is answered on its own inbox and hears nothing else."""
    return Permissions(publish=_PUBLISH[role], subscribe=(f"{inbox_prefix(role)}.>",))
