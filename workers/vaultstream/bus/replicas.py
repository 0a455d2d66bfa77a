"""Creates a stream with the configured replicas, and adds replicas to a stream that has fewer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nats.js.errors import APIError, NotFoundError

from vaultstream.bus.answers import explain_answer, find_overlap, foreign_error
from vaultstream.bus.connection import readable
from vaultstream.errors import BusError, shortened

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from nats.js import api

    from vaultstream.bus.connection import Bus

log = logging.getLogger(__name__)

_NO_PLACE = {10005, 10074}
"""JetStream's codes for a cluster with too few servers, and for a server that is not in a cluster."""


async def ensure_stream(bus: Bus, config: api.StreamConfig) -> bool:
    """Creates a stream with the bus's number of replicas if it is missing; returns whether it did.

    If the stream has fewer replicas, it gets more, and so do its consumers. If an administrator gave it more, it keeps
    them.

    Raises:
        BusError: there are fewer servers than replicas, another stream has its subjects, it has not our subjects, or JetStream refuses it otherwise.
        nats.errors.Error: NATS does not answer.
    """
    try:
        with readable():
            return await _ensure_stream(bus, config)
    except APIError as error:
        explained = explain_answer(error, str(config.name))
        if explained is None:
            raise
        others = await find_overlap(bus, config.subjects or [], except_for=str(config.name))
        raise explain_answer(error, str(config.name), others=others) or explained from None


async def _ensure_stream(bus: Bus, config: api.StreamConfig) -> bool:
    name, wanted = config.name, bus.replicas
    try:
        present = (await bus.answer(bus.jetstream.stream_info(str(name)))).config
    except NotFoundError:
        asked = bus.jetstream.add_stream(config.evolve(num_replicas=wanted))
        await bus.answer(_placed(asked, wanted))
        return True
    if foreign := foreign_error(str(name), present.subjects or [], config.subjects or []):
        raise foreign
    had = present.num_replicas or 1
    if had < wanted:
        asked = bus.jetstream.update_stream(present.evolve(num_replicas=wanted))
        await bus.answer(_placed(asked, wanted))
        log.info("added replicas to a stream", extra={"stream": name, "replicas": wanted, "before": had})
    return False


async def _placed(asked: Coroutine[object, object, api.StreamInfo], wanted: int) -> api.StreamInfo:
    try:
        return await asked
    except APIError as error:
        if error.err_code not in _NO_PLACE:
            raise
        raise BusError(
            f"NATS can't store {wanted} replicas of a stream: {shortened(error.description or '')}.",
            hint=f"Run {wanted} nats-servers with JetStream in one cluster, or lower VAULTSTREAM_NATS_REPLICAS.",
        ) from None
