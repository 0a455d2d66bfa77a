"""The stream of wrapped keys: the last message of each subject is the key's current form."""

from __future__ import annotations

from asyncio import gather
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from nats.js import api
from nats.js.errors import NotFoundError

from vaultstream.bus.connection import readable
from vaultstream.bus.direct import Outgoing
from vaultstream.bus.ignored import IgnoredMessages
from vaultstream.bus.publishing import publish_all
from vaultstream.bus.replicas import ensure_stream
from vaultstream.bus.subjects import KEYS_STREAM, key_subject, keys_of
from vaultstream.crypto.envelope import MAX_KEY_MESSAGE_BYTES, WrappedKey
from vaultstream.errors import CustodyError, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nats.aio.msg import Msg
    from nats.js import JetStreamContext

    from vaultstream.bus.connection import Bus


READS_AT_A_TIME = 64
"""Messages asked for at once."""


def revived_by(told: Mapping[str, str], states: Mapping[str, str]) -> list[str]:
    """Returns the keys that the stream `told` to be revoked, and whose `states` in Postgres say otherwise."""
    return [
        key_id for key_id, state in states.items() if state != "revoked" and told.get(key_id) == "revoked"
    ]


def reused_by(told: Mapping[str, str], states: Mapping[str, str]) -> list[str]:
    """Returns the keys that the stream `told` to be retired, and whose `states` in Postgres say that they may sign."""
    return [key_id for key_id, state in states.items() if state == "active" and told.get(key_id) == "retired"]


class KeysStream:
    """The stream `keys.>`. It distributes keys and their states quickly; what a reader misses here is in Postgres."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ensure(self) -> bool:
        """Creates the stream if it is missing; returns whether it did. See `ensure_stream`."""
        config = api.StreamConfig(
            name=KEYS_STREAM,
            description="VaultStream: wrapped keys, last value per key",
            subjects=["keys.>"],
            storage=api.StorageType.FILE,
            max_msgs_per_subject=1,
            max_msg_size=MAX_KEY_MESSAGE_BYTES,
        )
        return await ensure_stream(self._bus, config)

    async def publish(self, keys: Iterable[WrappedKey]) -> int:
        """Publishes wrapped keys and waits until each one is stored; returns how many."""
        return await publish_all(
            self._bus, (Outgoing(key_subject(key.job, key.key_id), key.to_message(), None) for key in keys)
        )

    async def count(self, token: str) -> int:
        """Returns how many keys of a job are in the stream."""
        asked = self._bus.jetstream.stream_info(KEYS_STREAM, subjects_filter=keys_of(token))
        info = await self._bus.answer(asked)
        with readable():
            return len(info.state.subjects or {})

    async def counts(self) -> Counter[str]:
        """Returns how many keys are in the stream, by the token of the job that their subject names."""
        asked = self._bus.jetstream.stream_info(KEYS_STREAM, subjects_filter="keys.>")
        info = await self._bus.answer(asked)
        with readable():
            return Counter(subject.split(".")[1] for subject in info.state.subjects or {})

    async def states(self, token: str, key_ids: Iterable[str]) -> dict[str, str]:
        """Returns what the stream tells about the states of keys; those without a message, or with garbage, are left out.

        Raises:
            BusError: the user may not read messages.
        """
        asked = list(key_ids)
        found: dict[str, str] = {}
        for start in range(0, len(asked), READS_AT_A_TIME):
            some = asked[start : start + READS_AT_A_TIME]
            states = await gather(*(self._state(token, key_id) for key_id in some))
            found |= {key_id: state for key_id, state in zip(some, states, strict=True) if state is not None}
        return found

    async def _state(self, token: str, key_id: str) -> str | None:
        asking = self._bus.jetstream.get_last_msg(KEYS_STREAM, key_subject(token, key_id))
        try:
            message = await self._bus.answer(asking)
            return WrappedKey.from_message(message.data or b"").state
        except (NotFoundError, CustodyError):
            return None

    async def watch(
        self, token: str, on_key: Callable[[WrappedKey], None]
    ) -> JetStreamContext.PushSubscription:
        """Calls `on_key` with each key of a job, now and whenever one changes; ignores messages that are not keys."""
        ignored = IgnoredMessages()

        async def on_message(message: Msg) -> None:
            try:
                key = WrappedKey.from_message(message.data)
            except CustodyError as error:
                why = f"it is not a wrapped key: {shown(error)}"
            else:
                if key.job == token and message.subject == key_subject(token, key.key_id):
                    on_key(key)
                    return
                why = "it names another key"
            ignored.add(message.subject, why)

        subscribing = self._bus.jetstream.subscribe(
            keys_of(token),
            stream=KEYS_STREAM,
            cb=on_message,
            ordered_consumer=True,
            deliver_policy=api.DeliverPolicy.LAST_PER_SUBJECT,
        )
        return await self._bus.answer(subscribing)

    async def remove(self, token: str) -> None:
        """Removes a job's keys from the stream; a missing stream or key is not an error."""
        with suppress(NotFoundError):
            purging = self._bus.jetstream.purge_stream(KEYS_STREAM, subject=keys_of(token))
            await self._bus.answer(purging)
