"""What each role may do on NATS: one user per role, with only the subjects that its work needs.

NATS checks the subject of a publish or subscribe. It does not check the body of a request or its reply subject, so
these rules separate roles, while Postgres stays the authority.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.role import WorkerRole

API = "$JS.API"
TENANT_API = "tenants.*.JS.API"
"""Where the operator's account imports the API of the tenants' accounts; `*` is the tenant. See `vaultstream.bus.tenants`."""


class BusRole(StrEnum):
    """A part of VaultStream that has a NATS user of its own."""

    OPERATOR = "operator"
    KEYS = WorkerRole.KEYS.value
    RECORDS = WorkerRole.RECORDS.value
    SIGNING = WorkerRole.SIGNING.value
    AUDITOR = "auditor"
    """A person who reads: status, doctor, debug streams."""


@dataclass(frozen=True)
class Permissions:
    """The subjects that a user may publish or subscribe to; all others are refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    def to_config(self) -> dict[str, dict[str, list[str]]]:
        """Returns the `permissions` block of a user in nats-server's configuration."""
        return {"publish": {"allow": list(self.publish)}, "subscribe": {"allow": list(self.subscribe)}}


def inbox_prefix(role: str) -> str:
    """Returns the prefix of a role's reply subjects, so that no role can read another's answers.

    For anything that is not a role, this is the usual prefix.
    """
    return f"_INBOX_{role}" if role in set(BusRole) else "_INBOX"


_PUBLISH: dict[BusRole, tuple[str, ...]] = {
    # Reads each job's lag, and removes all that a job has in JetStream when it ends.
    BusRole.OPERATOR: (
        f"{API}.CONSUMER.INFO.{RECORDS_STREAM}.*",
        f"{API}.CONSUMER.DELETE.{RECORDS_STREAM}.*",
        f"{API}.STREAM.PURGE.{RECORDS_STREAM}",
        f"{API}.STREAM.PURGE.{KEYS_STREAM}",
    ),
    BusRole.KEYS: (
        "keys.*.*",
        f"{API}.STREAM.INFO.{KEYS_STREAM}",
        f"{API}.STREAM.CREATE.{KEYS_STREAM}",
        f"{API}.STREAM.UPDATE.{KEYS_STREAM}",  # to add replicas to an existing stream
        f"{API}.STREAM.PURGE.{KEYS_STREAM}",
        f"{API}.STREAM.MSG.GET.{KEYS_STREAM}",  # to notice keys that a restored backup has revived
    ),
    BusRole.RECORDS: (
        "records.*.*",
        f"{API}.STREAM.INFO.{RECORDS_STREAM}",
        f"{API}.STREAM.CREATE.{RECORDS_STREAM}",
        f"{API}.STREAM.UPDATE.{RECORDS_STREAM}",  # to add replicas to an existing stream
        f"{API}.STREAM.PURGE.{RECORDS_STREAM}",
        f"{API}.CONSUMER.LIST.{RECORDS_STREAM}",  # to find one that keeps a job from having its own
        f"{API}.CONSUMER.INFO.{RECORDS_STREAM}.*",
        f"{API}.CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.*",
        f"{API}.CONSUMER.DELETE.{RECORDS_STREAM}.*",
    ),
    # Pulls and acknowledges batches; reads keys with an ordered consumer, which has flow control.
    BusRole.SIGNING: (
        f"{API}.CONSUMER.MSG.NEXT.{RECORDS_STREAM}.*",
        f"$JS.ACK.{RECORDS_STREAM}.>",
        f"{API}.CONSUMER.CREATE.{KEYS_STREAM}",
        f"{API}.CONSUMER.INFO.{KEYS_STREAM}.*",
        f"$JS.FC.{KEYS_STREAM}.>",
    ),
    BusRole.AUDITOR: (
        f"{API}.INFO",
        *(
            f"{API}.{what}"
            for stream in (RECORDS_STREAM, KEYS_STREAM)
            for what in (f"STREAM.INFO.{stream}", f"CONSUMER.LIST.{stream}", f"CONSUMER.INFO.{stream}.*")
        ),
    ),
}


def permissions(role: BusRole) -> Permissions:
    """Returns what a role may do; it may subscribe only to its own inbox."""
    publish = _PUBLISH[role]
    if role in (
        BusRole.OPERATOR,
        BusRole.AUDITOR,
    ):  # a request to a tenant that is not imported reaches nobody
        publish += tuple(subject.replace(API, TENANT_API, 1) for subject in publish)
    return Permissions(publish=publish, subscribe=(f"{inbox_prefix(role)}.>",))
