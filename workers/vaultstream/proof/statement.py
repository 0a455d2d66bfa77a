"""Batch statements: what a key says about the batch that it signed, besides the signatures of the records.

A statement is signed by the leased key of its batch, over the encoding that DSSE prescribes (pre-authentication encoding, PAE). So
no statement is mistaken for a record's payload, and `is_reserved` keeps a payload from being one.

    body         canonical JSON (RFC 8785): members sorted by name, no spaces; strings, and integers below 2^53
    signed       "DSSEv1 " <bytes of the type> " " <the type> " " <bytes of the body> " " <the body>
    root         the root of an RFC 6962 tree (`vaultstream.proof.merkle`) over the signed records, ascending by id
    leaf's data  u32be(bytes of the id) <the id> <SHA-256 of the payload, 32 bytes> <the signature>

Ids are compared as integers, as UUIDs, or as the bytes of their UTF-8 text, and are text in the leaf.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable

PAYLOAD_TYPE = "application/vnd.vaultstream.batch-statement.v1+json"
RESERVED_PREFIX = b"DSSEv1 "
"""The first bytes of each reserved payload; most others are told apart by them."""
_RESERVED = re.compile(rb"DSSEv1 [0-9]+ application/vnd\.vaultstream\.")
"""How everything begins that VaultStream signs in its own name, now or later."""

_ROOT = re.compile("[0-9a-f]{64}")
_INTEGERS = ("batch", "count", "epoch")
_MAX_INTEGER = 2**53 - 1
_quoted = json.encoder.encode_basestring
"""Returns a text as JSON that is not limited to ASCII."""
_FIRST = datetime(1000, 1, 1, tzinfo=UTC)
"""Earlier years are written with fewer digits."""


@dataclass(slots=True, kw_only=True, unsafe_hash=True)
class BatchStatement:
    """What a statement states. It is not frozen, because to make it would take four times as long then; nobody changes one."""

    job_token: str
    batch: int
    key_id: str
    epoch: int
    """The fencing token of the lease under which the key signed."""
    holder: str
    """The signer's name."""
    algorithm: str
    count: int
    """Signed records; dead ones are not among them."""
    first_id: str
    last_id: str
    root: bytes
    signed_at: datetime
    """By the clock of the database, with microseconds; also the time of each of the signatures."""

    @property
    def body(self) -> str:
        """The canonical text.

        Raises:
            ValueError: an integer or the time can't be in a statement.
        """
        for number in (self.batch, self.count, self.epoch):
            if not 0 <= number <= _MAX_INTEGER:
                raise ValueError(f"{number} can't be in a statement.")
        signed_at = _in_utc(self.signed_at)
        if signed_at is None or signed_at < _FIRST:
            raise ValueError(f"{self.signed_at} can't be in a statement.")
        moment = signed_at.isoformat(timespec="microseconds").removesuffix("+00:00")
        return (
            f'{{"algorithm":{_quoted(self.algorithm)},"batch":{self.batch:d},"count":{self.count:d},"epoch":{self.epoch:d},'
            f'"firstId":{_quoted(self.first_id)},"holder":{_quoted(self.holder)},"jobToken":{_quoted(self.job_token)},'
            f'"keyId":{_quoted(self.key_id)},"lastId":{_quoted(self.last_id)},"root":"{self.root.hex()}",'
            f'"signedAt":"{moment}Z"}}'
        )

    @classmethod
    def parse(cls, body: str) -> Self:
        """Reads a body.

        Raises:
            ValueError: it is no canonical text of a statement.
        """
        try:
            values: dict[str, Any] = json.loads(body)
            root, signed_at = values["root"], values["signedAt"]
            if not all(type(value) is (int if name in _INTEGERS else str) for name, value in values.items()):
                raise ValueError("A member has another type.")
            if not _ROOT.fullmatch(root):
                raise ValueError("The root is no hash.")
            statement = cls(
                job_token=values["jobToken"],
                batch=values["batch"],
                key_id=values["keyId"],
                epoch=values["epoch"],
                holder=values["holder"],
                algorithm=values["algorithm"],
                count=values["count"],
                first_id=values["firstId"],
                last_id=values["lastId"],
                root=bytes.fromhex(root),
                signed_at=datetime.fromisoformat(signed_at),  # any form of it: the body below has one
            )
        except (AttributeError, KeyError, RecursionError, TypeError) as error:
            raise ValueError(f"Not a statement: {error!r}.") from None
        if statement.body != body:
            raise ValueError("The text is not canonical.")
        return statement


def _in_utc(moment: datetime) -> datetime | None:
    """Returns the same time in UTC; None: it has no offset, or UTC has no such year."""
    if moment.tzinfo is UTC:
        return moment
    try:
        return None if moment.utcoffset() is None else moment.astimezone(UTC)
    except OverflowError:
        return None


def pae(payload_type: str, body: bytes) -> bytes:
    """Returns the bytes that are signed, as DSSE encodes them."""
    kind = payload_type.encode()
    return b"%b%d %b %d %b" % (RESERVED_PREFIX, len(kind), kind, len(body), body)


def signed_bytes(body: str) -> bytes:
    """Returns the bytes that are signed for the body of a statement."""
    return pae(PAYLOAD_TYPE, body.encode())


def is_reserved(payload: bytes) -> bool:
    """Whether a payload begins like what only VaultStream has signed in its own name."""
    return _RESERVED.match(payload) is not None


def record_leaf(record_id: object, digest: bytes, signature: bytes) -> bytes:
    """Returns the data of a record's leaf, as it is hashed by `vaultstream.proof.merkle.leaf_hash`.

    Args:
        record_id: an integer, a UUID or a text.
        digest: SHA-256 of the payload.
        signature: over the payload.
    """
    text = str(record_id).encode()
    return len(text).to_bytes(4) + text + digest + signature


def record_hashes(
    record_ids: Iterable[object], digests: Iterable[bytes], signatures: Iterable[bytes]
) -> list[bytes]:
    """Returns the hashes of the leaves of records, as `leaf_hash` of each `record_leaf`, in a third of the time."""
    texts = [str(each).encode() for each in record_ids]
    prefixes = [_PREFIXES[length] for length in map(len, texts)]
    leaves = map(b"".join, zip(prefixes, texts, digests, signatures, strict=True))
    return [leaf.digest() for leaf in map(sha256, leaves)]


class _Prefixes(dict[int, bytes]):
    """What comes before an id of each length in what is hashed; made once."""

    def __missing__(self, length: int) -> bytes:
        self[length] = b"\0" + length.to_bytes(4)
        return self[length]


_PREFIXES = _Prefixes()
