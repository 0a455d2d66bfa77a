"""Multi-buffer signing: eight ECDSA signatures on P-256 at a time, where the processor has AVX-512 IFMA.

Whether it is used is decided once in a process: if the extension is built, the processor has the instructions, the setting
VAULTSTREAM_MULTIBUFFER is not `off`, and a self-test passes. Else `cryptography` signs, with the same bytes in the table.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from logging import getLogger
from typing import Final, Never, Protocol, cast

from vaultstream.crypto.self_test import self_test

_VARIABLE = "VAULTSTREAM_MULTIBUFFER"
_EXTENSION: Final = "vaultstream.crypto._multibuffer"

_log = getLogger(__name__)


class NativeKey(Protocol):
    """A private key in the extension."""

    def __reduce__(self) -> Never: ...


class Multibuffer(Protocol):
    """The native extension. It keeps no more of a call for the next one than tables of public keys, and releases the GIL while it computes."""

    table_least: int
    """So many signatures by one key are verified with a table."""

    def Key(self, scalar: bytes | bytearray | memoryview, /) -> NativeKey:  # noqa: N802 - a class
        """A private key of P-256, made of its scalar: 32 bytes, big-endian.

        It is in memory that is wiped with it, and that is neither swapped nor dumped where the kernel allows it. It can't be
        read, pickled or copied. A scalar that is not from 1 to n - 1 is a ValueError.
        """

    def Ed25519Key(  # noqa: N802 - a class
        self, seed: bytes | bytearray | memoryview, public_key: bytes, /
    ) -> NativeKey:
        """A private key of Ed25519, made of its seed of 32 bytes, kept like a `Key`.

        Its public key is given, because to sign with a wrong one reveals the seed. If a lane of the library computes another
        one, it is a ValueError.
        """

    def sign(
        self,
        keys: Sequence[NativeKey],
        counts: Sequence[int],
        payloads: Sequence[bytes],
        messages: Sequence[bytes] | None,
        width: int,
        /,
    ) -> bytes:
        """Signs payloads eight at a time, with ECDSA on P-256 and SHA-256 or with Ed25519.

        Args:
            keys: the first `counts[0]` payloads are signed by `keys[0]`, the next `counts[1]` by `keys[1]`, and so on. All
                are a `Key` or all are an `Ed25519Key`.
            counts: as many as there are keys; their sum is the number of payloads.
            payloads: what is hashed, and signed unless there are messages.
            messages: what is signed in place of each payload.
            width: bytes of a row: 105 to 65536, or from 98 with Ed25519.

        Returns:
            One row for each payload: SHA-256 of the payload (32 bytes), the length of the signature (2 bytes, big-endian),
            the signature (DER with a low s, or the 64 bytes of Ed25519), and zeros.

        Raises:
            RuntimeError: the operating system gave no randomness, or the library failed in one of its lanes.
            TypeError: a key is of another type, or a payload or a message is no `bytes` object.
            ValueError: the numbers of arguments do not fit, or the width is out of range.
        """

    def verify(
        self,
        points: Sequence[bytes],
        counts: Sequence[int],
        digests: Sequence[bytes],
        signatures: Sequence[bytes],
        /,
    ) -> bytes:
        """Verifies signatures over SHA-256 digests, eight at a time, as strictly as `vaultstream.crypto.algorithms.verifier`.

        For `table_least` signatures or more by one key, in succession, it makes a table of multiples of the key first, with which a
        signature costs half as much, or an eighth of many; it keeps those of the last 128 keys, 19 MB. That is code of our own; for fewer ones
        the library verifies.

        Args:
            points: public keys, uncompressed: 65 bytes. The first `counts[0]` signatures are by `points[0]`, and so on.
            counts: as many as there are points; their sum is the number of signatures.
            digests: what was signed. One that does not have 32 bytes has no valid signature.
            signatures: DER with a low s.

        Returns:
            A byte for each signature: 1 if it is valid, else 0. A 0 is not the last word: see `verify_digests`.

        Raises:
            RuntimeError: the library failed in one of its lanes.
            ValueError: the numbers of arguments do not fit, or a point is not on the curve.
        """

    def verify_ed25519(
        self,
        keys: Sequence[bytes],
        counts: Sequence[int],
        messages: Sequence[bytes],
        signatures: Sequence[bytes],
        /,
    ) -> bytes:
        """Verifies signatures of Ed25519, like `verify`. Public keys have 32 bytes; one of small order is not looked for."""

    def roots(
        self, ids: Sequence[Sequence[int | str | bytes]], rows: Sequence[bytes | bytearray], width: int, /
    ) -> list[bytes]:
        """Returns the root of each batch in packed rows, as `vaultstream.proof` computes it from `record_leaf`.

        Args:
            ids: the ids of each batch: integers of 64 bits, or text, or its UTF-8.
            rows: what `sign` returned for each batch, or rows of another algorithm in that form.
            width: bytes of a row.

        Raises:
            ValueError: a batch has another number of rows than of ids, or a row is malformed.
        """

    def root(
        self, ids: Sequence[int | str | bytes], digests: Sequence[bytes], signatures: Sequence[bytes], /
    ) -> bytes:
        """Returns the root of one batch, whose digests and signatures can have any length. The lists are parallel."""

    def any_begins(self, payloads: Sequence[bytes], prefix: bytes, /) -> bool:
        """Returns whether one of the payloads begins with a prefix."""

    def sha256(self, payloads: Sequence[bytes], /) -> list[bytes]:
        """Returns the SHA-256 of each payload, with the processor's instructions for it where there are some."""

    def audit_payloads(self, ids: bytes, copied: bytes, /) -> tuple[bytes, bytes]:
        """Returns the SHA-256 of the payloads of records, and 1 for each record without one row that has a payload, else 0.

        Args:
            ids: integers of 64 bits, as they are in memory, in ascending order.
            copied: rows of COPY in binary form: an id of 64 bits, and a payload or NULL. Those of other ids do not count. If they
                are malformed, each record is without.
        """

    def audit_batches(
        self, ids: bytes, stated: bytes, points: Sequence[bytes], digests: bytes, copied: bytes, /
    ) -> bytes:
        """Returns 1 for each batch in which all is as its key stated and each signature is valid with a low s, else 0.

        Args:
            ids: see `audit_payloads`; those of one batch after the other.
            stated: 56 bytes for each batch: the number of its records, key_no and epoch (4 bytes each), signed_at as Postgres has
                it (8), the place of its key in `points` (4), in the processor's order; and the root.
            points: public keys, as `verify` takes them.
            digests: of the payloads: 32 bytes for each id.
            copied: rows of COPY in binary form: record_id, key_no, epoch, signed_at, digest, signature. Those of other ids do not
                count. If they are malformed, no batch is as it should be.

        Raises:
            RuntimeError: the library failed in one of its lanes, or there is no memory.
            ValueError: the numbers of arguments do not fit, ids do not ascend, or a point is not on the curve.
        """

    def audit_known(self, ids: bytes, copied: bytes, /) -> bool:
        """Returns whether all rows of COPY in binary form, of an id each, are among these ids; not if one is NULL, or malformed."""

    def known_answer(self, scalar: bytes, nonce: bytes, digest: bytes, /) -> bytes:
        """Returns the signature over a digest with a given nonce, for tests with known answers alone.

        Raises:
            RuntimeError: the library failed in one of its lanes, or they differ.
            ValueError: an argument does not have 32 bytes, or the scalar or the nonce is not from 1 to n - 1.
        """

    def applicable(self) -> bool:
        """Whether the processor has what the library's code for AVX-512 needs, by the library's own check."""

    def version(self) -> str:
        """The version of the library that the extension was built with."""


@dataclass(frozen=True)
class _Decision:
    multibuffer: Multibuffer | None
    why_not: str
    faulty: bool = False


def multibuffer() -> Multibuffer | None:
    """Returns the extension, or None if it is not to be used in this process."""
    return _decide().multibuffer


def why_not() -> str:
    """Returns a sentence that says why `multibuffer` returns None; empty if it doesn't."""
    return _decide().why_not


def is_faulty() -> bool:
    """Returns whether the extension is there and does not work."""
    return _decide().faulty


@cache
def _decide() -> _Decision:
    if os.environ.get(_VARIABLE, "").lower() == "off":
        return _Decision(None, f"{_VARIABLE} is off.")
    try:
        native = cast("Multibuffer", import_module(_EXTENSION))
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError)
        reason = "is not built" if missing else f"can't be loaded: {error}"
        return _Decision(None, f"The native extension {reason}.", faulty=not missing)
    if not native.applicable():
        return _Decision(None, "The processor lacks AVX-512 IFMA.")
    if fault := self_test(native):
        _log.warning("Multi-buffer signing is not used: its self-test failed: %s", fault)
        return _Decision(None, f"The self-test of the native extension failed: {fault}", faulty=True)
    return _Decision(native, "")
