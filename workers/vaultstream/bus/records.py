"""The stream of batches: one message per batch, which only names the batch."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nats.js import api
from nats.js.errors import APIError, NotFoundError

from vaultstream.bus.answers import NOT_UNIQUE, explain_answer, rival_error
from vaultstream.bus.connection import readable, unreadable_answer
from vaultstream.bus.consumers import LIMITS_OF_SERVERS, consumer_config, differing_settings, hinders
from vaultstream.bus.direct import Outgoing
from vaultstream.bus.publishing import publish_all
from vaultstream.bus.replicas import ensure_stream
from vaultstream.bus.subjects import RECORDS_STREAM, batch_subject, batches_of, parse_batch_no
from vaultstream.errors import BusError, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultstream.bus.connection import Bus

log = logging.getLogger(__name__)

DUPLICATE_WINDOW_SECONDS = 120
MAX_BATCH_MESSAGE_BYTES = 1024
"""Far more than a batch's name needs; the server refuses larger messages from anyone."""
_MOST_PAGES = 400
"""Pages of a list of consumers that are read: each has 256 of them, unless the server is a hostile one."""


@dataclass(frozen=True)
class ConsumerLag:
    """What JetStream still has to see acknowledged for a job, in batches.

    Attributes:
        pending: not delivered yet.
        ack_pending: delivered, and not acknowledged.
        waiting: requests of signers for more; no part of the lag, so it is not compared.
    """

    pending: int
    ack_pending: int
    waiting: int = field(default=0, compare=False)

    @property
    def total(self) -> int:
        return self.pending + self.ack_pending


class RecordsStream:
    """The stream `records.>`: a work queue with one durable consumer per job."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._of_the_server: dict[str, Any] = {}
        """What the server sets in a consumer that was just made, by its own limits."""

    async def ensure(self) -> bool:
        """Creates the stream if it is missing; returns whether it did. See `ensure_stream`."""
        config = api.StreamConfig(
            name=RECORDS_STREAM,
            description="VaultStream: batches to sign",
            subjects=["records.>"],
            retention=api.RetentionPolicy.WORK_QUEUE,
            storage=api.StorageType.FILE,
            max_msg_size=MAX_BATCH_MESSAGE_BYTES,
            duplicate_window=DUPLICATE_WINDOW_SECONDS,
        )
        return await ensure_stream(self._bus, config)

    async def ensure_consumer(self, token: str, *, ack_wait_seconds: float, max_ack_pending: int) -> bool:
        """Creates a job's consumer if it is missing, and makes it again if somebody configured it otherwise; returns whether it did.

        Raises:
            BusError: JetStream refuses it, and waiting does not change that.
        """
        wanted = consumer_config(token, ack_wait_seconds=ack_wait_seconds, max_ack_pending=max_ack_pending)
        try:
            found = _config_in(await self._bus.ask(f"CONSUMER.INFO.{RECORDS_STREAM}.{token}"))
        except NotFoundError:
            made = await self._make_consumer(token, wanted)
            self._learn(made, wanted)
            return True
        differing = self._not_of_the_server(found, wanted)
        if not differing:
            return False
        try:
            made = await self._make_consumer(token, wanted)  # an update: nothing is delivered twice
            self._learn(made, wanted, only=LIMITS_OF_SERVERS)
        except (APIError, BusError):
            made = found  # not all can be updated
        if self._not_of_the_server(made, wanted):
            await self.remove_consumer(token)
            made = await self._make_consumer(token, wanted)
            self._learn(made, wanted)
        elif not self._not_of_the_server(found, wanted):
            return False  # all of it was a limit of the server
        named = shortened(", ".join(differing))
        log.warning("the consumer was configured otherwise: set back", extra={"settings": named})
        return True

    def _not_of_the_server(self, found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
        """Returns the settings in which a consumer differs, without those that the server gave to one that was just made."""
        missing = object()
        names = differing_settings(found, wanted)
        return [name for name in names if found.get(name) != self._of_the_server.get(name, missing)]

    def _learn(
        self, found: dict[str, Any], wanted: dict[str, Any], *, only: frozenset[str] | None = None
    ) -> None:
        names = [name for name in differing_settings(found, wanted) if only is None or name in only]
        self._of_the_server = {name: found.get(name) for name in names}

    async def _make_consumer(self, token: str, config: dict[str, Any]) -> dict[str, Any]:
        """Returns the configuration that it has. Other consumers of the same batches are removed: a work queue allows one."""
        request = {"stream_name": RECORDS_STREAM, "config": config}
        subject = f"CONSUMER.DURABLE.CREATE.{RECORDS_STREAM}.{token}"
        try:
            try:
                return _config_in(await self._bus.ask(subject, request))
            except APIError as error:
                if error.err_code not in NOT_UNIQUE or not await self._remove_hindering(token):
                    raise
                return _config_in(await self._bus.ask(subject, request))
        except APIError as error:
            if error.err_code in NOT_UNIQUE:
                raise rival_error(RECORDS_STREAM, error) from None
            if explained := explain_answer(error, RECORDS_STREAM):
                raise explained from None
            raise

    async def _remove_hindering(self, token: str) -> list[str]:
        """Removes consumers of a job's batches that are not its own; returns their names, none if this user may not list them."""
        names: list[str] = []
        seen = 0
        with suppress(BusError):  # its user has the permissions of an earlier version
            for _ in range(_MOST_PAGES):
                answer = await self._bus.ask(f"CONSUMER.LIST.{RECORDS_STREAM}", {"offset": seen})
                with readable():
                    page = answer.get("consumers") or []
                    seen += len(page)
                    names += [str(info["name"]) for info in page if hinders(token, info)]
                if not page:
                    break
        names = list(dict.fromkeys(names))
        for name in names:
            await self.remove_consumer(name)
        if names:
            named = shortened(", ".join(names))
            log.warning("other consumers had the job's batches: removed", extra={"consumers": named})
        return names

    async def lag(self, token: str) -> ConsumerLag | None:
        """Returns a job's lag; None if its consumer or the stream is missing, which is not the same as no lag."""
        try:
            info = await self._bus.answer(self._bus.jetstream.consumer_info(RECORDS_STREAM, token))
        except NotFoundError:
            return None
        numbers = [each or 0 for each in (info.num_pending, info.num_ack_pending, info.num_waiting)]
        if not all(isinstance(each, int) and each >= 0 for each in numbers):
            raise unreadable_answer()
        return ConsumerLag(*numbers)

    async def remove_consumer(self, token: str) -> None:
        """Removes a job's consumer; it is not an error if it is missing. Its messages stay, and a new one delivers all of them."""
        with suppress(NotFoundError):
            await self._bus.answer(self._bus.jetstream.delete_consumer(RECORDS_STREAM, token))

    async def present(self, token: str) -> set[int]:
        """Returns the numbers of a job's batches in the stream, whether waiting or in flight."""
        asked = self._bus.jetstream.stream_info(RECORDS_STREAM, subjects_filter=batches_of(token))
        info = await self._bus.answer(asked)
        with readable():
            numbers = {parse_batch_no(subject) for subject in info.state.subjects or {}}
        return {number for number in numbers if number is not None}

    async def publish(self, token: str, batch_nos: Iterable[int], *, generation: str = "") -> int:
        """Publishes batches, many at a time, and waits until each one is stored; returns how many.

        Args:
            token: the job's token.
            batch_nos: numbers of the batches.
            generation: part of the message id. A lost batch is published again with another generation, so that
                JetStream does not discard it as a duplicate.
        """
        return await publish_all(
            self._bus,
            (
                Outgoing(
                    batch_subject(token, number),
                    b"",
                    {api.Header.MSG_ID: f"{token}.{number}.{generation}"},
                )
                for number in batch_nos
            ),
        )

    async def remove(self, token: str) -> None:
        """Removes a job's consumer and messages from the stream; it is not an error if they are missing."""
        await self.remove_consumer(token)
        with suppress(NotFoundError):
            purging = self._bus.jetstream.purge_stream(RECORDS_STREAM, subject=batches_of(token))
            await self._bus.answer(purging)


def _config_in(answer: dict[str, Any]) -> dict[str, Any]:
    config = answer.get("config")
    if not isinstance(config, dict):
        raise unreadable_answer()
    return config
