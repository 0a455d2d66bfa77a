"""What the native extension calls a plain batch: nothing that Python would find something wrong with."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from struct import pack

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from support.copied import END, HEAD, copied_row, copied_rows, int4, int8
from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import signer
from vaultstream.crypto.low_s import P256_ORDER
from vaultstream.crypto.multibuffer import Multibuffer
from vaultstream.proof.merkle import tree_root
from vaultstream.proof.statement import record_hashes

pytestmark = pytest.mark.unit

KEYS = [
    derive_private_key(int.from_bytes(sha256(name).digest()) % P256_ORDER, SECP256R1())
    for name in (b"one", b"two")
]
"""As keys are: no multiples of the generator by a small number or fraction. With those, one verification of 450 or so meets an exceptional case of the
tables, and its batch is not called plain."""
POINTS = [key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint) for key in KEYS]
SIGNED_AT = 812_345_678_901_234
COUNTS = (3, 40, 2)
IDS = [*range(-3, 0), *range(0, 120, 3), 2**63 - 2, 2**63 - 1]
"""Batch 2 has enough signatures for a table."""
STARTS = (0, 3, 43)


def payload_of(record: int) -> bytes:
    return b"payload %d" % record * (record % 5)


@cache
def signature_of(record: int, key: int) -> bytes:
    return signer(KEYS[key], Algorithm.ECDSA_P256_SHA256)(payload_of(record))


def key_of(batch: int) -> int:
    return batch % 2


def batch_of(place: int) -> int:
    return sum(place >= start for start in STARTS) - 1


Row = list[bytes | None]


def rows_as_signed() -> list[Row]:
    rows: list[Row] = []
    for place, record in enumerate(IDS):
        batch = batch_of(place)
        digest = sha256(payload_of(record)).digest()
        signature = signature_of(record, key_of(batch))
        rows.append([int8(record), int4(key_of(batch)), int4(batch + 1), int8(SIGNED_AT), digest, signature])
    return rows


@dataclass(frozen=True)
class Given:
    """The arguments of a call, which can be replaced one by one."""

    rows: list[Row] = field(default_factory=rows_as_signed)
    digests: list[bytes] = field(default_factory=lambda: [sha256(payload_of(each)).digest() for each in IDS])
    points: list[bytes] = field(default_factory=lambda: list(POINTS))
    root: bytes | None = None

    def plain(self, native: Multibuffer) -> list[int]:
        stated = b"".join(
            pack(
                "=IiiqI32s",
                *(COUNTS[batch], key_of(batch), batch + 1, SIGNED_AT, key_of(batch)),
                self.root or root_of(batch),
            )
            for batch in range(len(COUNTS))
        )
        rows = copied_rows(self.rows)
        answers = native.audit_batches(
            array("q", IDS).tobytes(), stated, self.points, b"".join(self.digests), rows
        )
        return list(answers)


def root_of(batch: int) -> bytes:
    rows = rows_as_signed()[STARTS[batch] : STARTS[batch] + COUNTS[batch]]
    ids = IDS[STARTS[batch] : STARTS[batch] + COUNTS[batch]]
    return tree_root(record_hashes(ids, [row[4] or b"" for row in rows], [row[5] or b"" for row in rows]))


def test_batches_are_plain_if_all_is_as_stated_in_whatever_order_their_rows_come(native: Multibuffer) -> None:
    assert Given().plain(native) == [1, 1, 1]
    assert Given(rows=rows_as_signed()[::-1]).plain(native) == [1, 1, 1]
    other: Row = [int8(1), int4(0), int4(1), int8(0), b"", b""]
    assert Given(rows=[other, *rows_as_signed(), other]).plain(native) == [1, 1, 1]


def twin(signature: bytes) -> bytes:
    r, s = decode_dss_signature(signature)
    return encode_dss_signature(r, P256_ORDER - s)


ALTERED: dict[str, Callable[[Row], object]] = {
    "another key": lambda row: row.__setitem__(1, int4(9)),
    "another epoch": lambda row: row.__setitem__(2, int4(9)),
    "another time": lambda row: row.__setitem__(3, int8(SIGNED_AT + 1)),
    "another digest": lambda row: row.__setitem__(4, bytes(32)),
    "a short digest": lambda row: row.__setitem__(4, b""),
    "no digest": lambda row: row.__setitem__(4, None),
    "no signature": lambda row: row.__setitem__(5, None),
    "an empty signature": lambda row: row.__setitem__(5, b""),
    "the other form": lambda row: row.__setitem__(5, twin(row[5] or b"")),
    "one byte more": lambda row: row.__setitem__(5, (row[5] or b"") + b"\0"),
    "of another record": lambda row: row.__setitem__(5, signature_of(0, 1)),
}


@pytest.mark.parametrize("name", ALTERED)
@pytest.mark.parametrize("place", [0, 10, 44])
def test_a_batch_with_one_altered_row_is_not_plain(native: Multibuffer, name: str, place: int) -> None:
    rows = rows_as_signed()
    before = list(rows[place])
    ALTERED[name](rows[place])
    if place == 10 and before == rows[place]:
        pytest.fail("nothing was altered")
    assert Given(rows=rows).plain(native) == [batch != batch_of(place) for batch in range(3)]


def test_a_batch_with_a_missing_or_a_second_row_is_not_plain(native: Multibuffer) -> None:
    rows = rows_as_signed()
    assert Given(rows=rows[1:]).plain(native) == [0, 1, 1]
    assert Given(rows=[*rows, rows[44]]).plain(native) == [1, 1, 0]


def test_a_batch_of_another_payload_root_or_key_is_not_plain(native: Multibuffer) -> None:
    given = Given()
    digests = [*given.digests[:2], bytes(32), *given.digests[3:]]
    assert replace(given, digests=digests).plain(native) == [0, 1, 1]
    assert replace(given, root=root_of(1)).plain(native) == [0, 1, 0]
    assert replace(given, points=POINTS[::-1]).plain(native) == [0, 0, 0]


def test_a_signature_that_is_not_valid_is_found_where_the_root_is_that_of_the_forgery(
    native: Multibuffer,
) -> None:
    rows = rows_as_signed()
    digest, forged = rows[0][4] or b"", signature_of(IDS[1], 0)
    rows[0][5] = forged
    three = [(row[4] or b"", row[5] or b"") for row in rows[:3]]
    assert three[0] == (digest, forged)
    root = tree_root(record_hashes(IDS[:3], [each for each, _ in three], [each for _, each in three]))
    assert Given(rows=rows, root=root).plain(native) == [0, 0, 0]
    rows[0][5] = signature_of(IDS[0], 0)
    assert Given(rows=rows, root=root_of(0)).plain(native) == [1, 0, 0]


STREAM = copied_rows(rows_as_signed())
MALFORMED = {
    "nothing": b"",
    "no end": STREAM[:-2],
    "more after the end": STREAM + b"\0",
    "a row cut short": STREAM[:-40] + END,
    "another head": b"X" + STREAM[1:],
    "flags": STREAM[:14] + b"\1" + STREAM[15:],
    "an extension": STREAM[:18] + b"\1" + STREAM[19:],
    "other columns": HEAD + copied_row([b"\0" * 8] * 4) + END,
    "an id of 4 bytes": copied_rows([[int4(1), int4(0), int4(1), int8(0), b"", b""]]),
    "an id that is NULL": copied_rows([[None, int4(0), int4(1), int8(0), b"", b""]]),
    "a length beyond the end": HEAD + b"\0\6" + b"\x7f\xff\xff\xff" + STREAM[25:],
    "a negative length": HEAD + b"\0\6" + b"\xff\xff\xff\xfe" + STREAM[25:],
}


@pytest.mark.parametrize("rows", MALFORMED.values(), ids=MALFORMED)
def test_nothing_is_plain_in_malformed_rows(native: Multibuffer, rows: bytes) -> None:
    ids = array("q", IDS).tobytes()
    stated = b"".join(count.to_bytes(4, "little") + bytes(52) for count in COUNTS)
    digests = b"".join(Given().digests)
    assert native.audit_batches(ids, stated, POINTS, digests, rows) == bytes(3)
    assert native.audit_payloads(ids, rows)[1] == b"\1" * len(IDS)
    assert not native.audit_known(ids, rows)


def test_payloads_are_hashed_by_their_ids(native: Multibuffer) -> None:
    ids = [-5, 2, 3, 40, 2**62]
    rows: list[Row] = [[int8(each), payload_of(each % 100)] for each in (40, 3, -5, 2**62, 7)]
    digests, without = native.audit_payloads(array("q", ids).tobytes(), copied_rows(rows))
    assert list(without) == [0, 1, 0, 0, 0]
    for place, each in enumerate(ids):
        if each != 2:
            assert digests[32 * place : 32 * place + 32] == sha256(payload_of(each % 100)).digest()


@pytest.mark.parametrize("second", [b"one", b"", None])
@pytest.mark.parametrize("first", [b"one", b"", None])
def test_a_record_with_two_rows_or_no_payload_is_without(
    native: Multibuffer, first: bytes | None, second: bytes | None
) -> None:
    ids = array("q", [1, 2]).tobytes()
    twice = copied_rows([[int8(1), first], [int8(2), first], [int8(1), second]])
    _, without = native.audit_payloads(ids, twice)
    assert list(without) == [1, first is None]


def test_rows_are_known_if_all_ids_are(native: Multibuffer) -> None:
    ids = array("q", [-1, 5, 9]).tobytes()
    assert native.audit_known(ids, copied_rows([]))
    assert native.audit_known(ids, copied_rows([[int8(9)], [int8(-1)], [int8(9)]]))
    assert not native.audit_known(ids, copied_rows([[int8(9)], [int8(6)]]))
    assert not native.audit_known(ids, copied_rows([[int8(9)], [None]]))


def test_more_rows_than_ids_are_not_known(native: Multibuffer) -> None:
    """At most one row more than there are ids is read: behind rows with one id, another one may have been cut off."""
    ids = array("q", [5, 9]).tobytes()
    assert native.audit_known(ids, copied_rows([[int8(9)], [int8(9)]]))
    assert not native.audit_known(ids, copied_rows([[int8(9)], [int8(9)], [int8(5)]]))


def packed(*ids: int) -> bytes:
    return array("q", ids).tobytes()


TWO = pack("=I52x", 2)


@pytest.mark.parametrize(
    "arguments",
    [
        (b"\0" * 9, b"", [], b"", b""),
        (packed(2, 1), TWO, POINTS, bytes(64), b""),
        (packed(1, 1), TWO, POINTS, bytes(64), b""),
        (packed(1, 2, 3), TWO, POINTS, bytes(96), b""),
        (packed(1), TWO, POINTS, bytes(32), b""),
        (packed(1, 2), TWO[1:], POINTS, bytes(64), b""),
        (packed(1, 2), TWO, POINTS, bytes(63), b""),
        (packed(1, 2), TWO, [], bytes(64), b""),
        (packed(1, 2), TWO, [b"\4" * 65], bytes(64), b""),
    ],
)
def test_arguments_that_do_not_fit_are_refused(native: Multibuffer, arguments: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match=r"must|no uncompressed point"):
        native.audit_batches(*arguments)  # type: ignore[arg-type]
