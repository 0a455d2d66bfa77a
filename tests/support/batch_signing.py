"""A batch signer without cryptography, for tests of what is done with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from vaultstream.crypto.rows import HEAD_BYTES, Rows, pack
from vaultstream.signing.batch import Batch
from vaultstream.store.leases import SignedBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nats.aio.msg import Msg

    from vaultstream.crypto.algorithms import PrivateKey
    from vaultstream.store.leases import Lease

LANES = 8


def signature_of(key: str, message: bytes) -> bytes:
    return b"%b signed %b" % (key.encode(), sha256(message).digest())


@dataclass
class Call:
    """One call to sign: its keys, each with what it signed."""

    shares: list[tuple[str, list[bytes]]]

    @property
    def messages(self) -> list[bytes]:
        return [message for _, messages in self.shares for message in messages]


@dataclass
class NotingSigner:
    """Signs with keys that are names, and notes what it was asked for."""

    width: int = HEAD_BYTES + 60
    path: str = "names"
    calls: list[Call] = field(default_factory=list)
    verified: list[tuple[str, bytes]] = field(default_factory=list)
    """Keys and messages of signatures that were verified."""
    disturbed: tuple[str, ...] = ()
    """Keys whose signatures are found to be wrong."""
    broken_lane: int | None = None
    """Which of the eight payloads that are signed at a time always gets a wrong signature."""
    unverified: Exception | None = None
    """What verifying raises."""
    meanwhile: Callable[[Call], object] = lambda _: None
    """Called in the middle of each call; what it raises, the call raises."""

    @property
    def asked(self) -> list[bytes]:
        """All that was signed."""
        return [message for call in self.calls for message in call.messages]

    def open(self, private_key: PrivateKey, der: bytes | bytearray) -> str:
        raise NotImplementedError

    def verify(
        self, keys: Sequence[str], messages: Sequence[bytes], signatures: Sequence[bytes]
    ) -> list[bool]:
        if self.unverified:
            raise self.unverified
        self.verified += zip(keys, messages, strict=True)
        found = zip(keys, messages, signatures, strict=True)
        return [
            signature == signature_of(key, message) and key not in self.disturbed
            for key, message, signature in found
        ]

    def sign(
        self,
        keys: Sequence[str],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None = None,
    ) -> bytes:
        signed = list(messages or payloads)
        assert len(signed) == len(payloads) == sum(counts)
        rest = iter(signed)
        shares = [(key, [next(rest) for _ in range(count)]) for key, count in zip(keys, counts, strict=True)]
        self.calls.append(call := Call(shares))
        self.meanwhile(call)
        signatures = [signature_of(key, message) for key, own in shares for message in own]
        if self.broken_lane is not None:
            signatures[self.broken_lane :: LANES] = [
                each[::-1] for each in signatures[self.broken_lane :: LANES]
            ]
        return pack([sha256(payload).digest() for payload in payloads], signatures, self.width)


def leased_batch(lease: Lease, number: int = 3, *, width: int = HEAD_BYTES + 60) -> Batch:
    """Returns a batch of which nothing is signed yet."""
    batch = Batch(number, cast("Msg", None))
    batch.lease = lease
    batch.signed = SignedBatch(number, lease, [], Rows(width))
    return batch
