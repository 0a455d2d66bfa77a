"""The stream of batches: one message per batch, which only names the batch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nats.js import api
from nats.js.errors import APIError, NotFoundError

from vaultstream.bus.answers import explain_answer
from vaultstream.bus.direct import Outgoing
from vaultstream.bus.publishing import publish_all
from vaultstream.bus.replicas import ensure_stream
from vaultstream.bus.subjects import RECORDS_STREAM, batch_subject, batches_of, parse_batch_no

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vaultstream.bus.connection import Bus

DUPLICATE_WINDOW_SECONDS = 120
MAX_BATCH_MESSAGE_BYTES = 1024
"""Far more than a batch's name needs; the server refuses larger messages from anyone."""


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
        """Creates a job's consumer if it is missing; returns whether it did.

        Deliveries are not limited: attempts are counted in Postgres, where they survive the consumer. The consumer
        always has as many replicas as its stream.
        """
        if await self.lag(token) is not None:
            return False
        config = api.ConsumerConfig(
            durable_name=token,
            description="VaultStream: signers of one job",
            filter_subject=batches_of(token),
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=ack_wait_seconds,
            max_deliver=-1,
            max_ack_pending=max_ack_pending,
            max_waiting=4096,
        )
        try:
            await self._bus.answer(self._bus.jetstream.add_consumer(RECORDS_STREAM, config))
        except APIError as error:
            if explained := explain_answer(error, RECORDS_STREAM):
                raise explained from None
            raise
        return True

    async def lag(self, token: str) -> ConsumerLag | None:
        """Returns a job's lag; None if its consumer or the stream is missing, which is not the same as no lag."""
        try:
            info = await self._bus.answer(self._bus.jetstream.consumer_info(RECORDS_STREAM, token))
        except NotFoundError:
            return None
        return ConsumerLag(info.num_pending or 0, info.num_ack_pending or 0, info.num_waiting or 0)

    async def remove_consumer(self, token: str) -> None:
        """Removes a job's consumer; it is not an error if it is missing. Its messages stay, and a new one delivers all of them."""
        with suppress(NotFoundError):
            await self._bus.answer(self._bus.jetstream.delete_consumer(RECORDS_STREAM, token))

    async def present(self, token: str) -> set[int]:
        """Returns the numbers of a job's batches in the stream, whether waiting or in flight."""
        asked = self._bus.jetstream.stream_info(RECORDS_STREAM, subjects_filter=batches_of(token))
        info = await self._bus.answer(asked)
        numbers = (parse_batch_no(subject) for subject in info.state.subjects or {})
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
