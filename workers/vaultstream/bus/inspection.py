"""VaultStream's streams and consumers in JetStream, for people and `vaultstream doctor`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nats.js import api
from nats.js.errors import NotFoundError

from vaultstream.bus.connection import API_TIMEOUT_SECONDS, BUS_ERRORS
from vaultstream.bus.consumers import foreign_settings
from vaultstream.bus.subjects import KEYS_STREAM, RECORDS_STREAM
from vaultstream.errors import BusError

if TYPE_CHECKING:
    from vaultstream.bus.connection import Bus


@dataclass(frozen=True)
class ConsumerState:
    """One job's consumer, named after the job's token."""

    name: str
    durable: bool
    pending: int
    ack_pending: int
    redelivered: int
    waiting: int
    foreign: tuple[str, ...] = ()
    """What of its configuration is not that of a job's consumer. Empty for consumers of the stream of keys: watchers make those."""


@dataclass(frozen=True)
class StreamState:
    """One stream and its durable consumers.

    Attributes:
        retention: limits, interest or workqueue.
        replicas: number of servers that store it.
        limits: limits that could make the stream drop messages, by name; empty if there are none.
        tenant: the tenant in whose account it is; None: in that of the connection.
        foreign: settings that VaultStream never makes, by which messages come from elsewhere, go elsewhere, or are refused.
        max_msg_size: the longest message in bytes; -1: any.
    """

    name: str
    subjects: list[str]
    retention: str
    storage: str
    replicas: int
    messages: int
    bytes: int
    max_msgs_per_subject: int
    limits: dict[str, float]
    consumers: list[ConsumerState]
    tenant: str | None = None
    foreign: tuple[str, ...] = ()
    max_msg_size: int = -1


_FOREIGN = (
    "mirror",
    "sources",
    "republish",
    "subject_transform",
    "sealed",
    "no_ack",
    "deny_delete",
    "deny_purge",
    "discard_new_per_subject",
    "allow_rollup_hdrs",
    "allow_msg_ttl",
    "allow_msg_schedules",
    "allow_msg_counter",
    "subject_delete_marker_ttl",
)
"""Settings of a stream that are not set."""


async def list_streams(bus: Bus, tenant: str | None = None) -> list[StreamState]:
    """Returns those of VaultStream's streams that exist, in this connection's account or in that of a tenant.

    Raises:
        nats.errors.Error: NATS or JetStream does not answer.
    """
    found, bus = [], bus.of_tenant(tenant)
    for name in (RECORDS_STREAM, KEYS_STREAM):
        try:
            info = await bus.answer(bus.jetstream.stream_info(name))
        except NotFoundError:
            continue
        found.append(replace(_stream(info, await _consumers(bus, name)), tenant=tenant))
    return found


async def _consumers(bus: Bus, stream: str) -> list[ConsumerState]:
    states: list[ConsumerState] = []
    while page := (await bus.ask(f"CONSUMER.LIST.{stream}", {"offset": len(states)}))["consumers"]:
        states += [
            ConsumerState(
                name=info["name"],
                durable=bool(info["config"].get("durable_name")),
                pending=info.get("num_pending", 0),
                ack_pending=info.get("num_ack_pending", 0),
                redelivered=info.get("num_redelivered", 0),
                waiting=info.get("num_waiting", 0),
                foreign=foreign_settings(info["name"], info["config"]) if stream == RECORDS_STREAM else (),
            )
            for info in page
        ]
    return states


def _stream(info: api.StreamInfo, consumers: list[ConsumerState]) -> StreamState:
    config = info.config
    limits = {"max_msgs": config.max_msgs, "max_bytes": config.max_bytes, "max_age": config.max_age}
    return StreamState(
        name=str(config.name),
        subjects=list(config.subjects or []),
        retention=str(getattr(config.retention, "value", config.retention)),
        storage=str(getattr(config.storage, "value", config.storage)),
        replicas=config.num_replicas or 1,
        messages=info.state.messages,
        bytes=info.state.bytes,
        max_msgs_per_subject=config.max_msgs_per_subject or -1,
        limits={name: value for name, value in limits.items() if value and value > 0},
        consumers=consumers,
        foreign=_foreign(config),
        max_msg_size=config.max_msg_size if config.max_msg_size is not None else -1,
    )


def _foreign(config: api.StreamConfig) -> tuple[str, ...]:
    names = [name for name in _FOREIGN if getattr(config, name)]
    if (config.max_consumers or 0) > 0:
        names.append("max_consumers")
    # "async" acknowledges a message before it is on disk.
    if config.persist_mode not in {None, "default"}:
        names.append("persist_mode")
    limits = config.consumer_limits
    if limits is not None and (limits.inactive_threshold or limits.max_ack_pending):
        names.append("consumer_limits")
    return tuple(names)


async def messages_by_connection(bus: Bus) -> Counter[str] | None:
    """Returns how many messages each open connection of this account has sent and received so far, by its name.

    None if NATS does not say: the user may not ask, or there are several servers, each of which knows only a part.
    """
    if len(bus.client.servers) > 1:
        return None
    try:
        answer = await bus.answer(
            bus.client.request("$SYS.REQ.ACCOUNT.PING.CONNZ", b"{}", timeout=API_TIMEOUT_SECONDS)
        )
        connections = json.loads(answer.data)["data"]["connections"]
    except (BusError, *BUS_ERRORS, KeyError, ValueError):
        return None
    counted: Counter[str] = Counter()
    for each in connections:
        counted[each.get("name", "")] += each["in_msgs"] + each["out_msgs"]
    return counted
