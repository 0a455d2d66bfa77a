"""The bytes of statements: canonical, told apart from everything else that a key signs, and bound to each record."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaultstream.crypto.batch_signer import any_begins
from vaultstream.proof.merkle import leaf_hash
from vaultstream.proof.statement import (
    PAYLOAD_TYPE,
    RESERVED_PREFIX,
    BatchStatement,
    is_reserved,
    pae,
    record_hashes,
    record_leaf,
    signed_bytes,
)

pytestmark = pytest.mark.unit

TEXT = st.text(st.characters(codec="utf-8"))
WHOLE = st.integers(0, 2**53 - 1)
TIMES = st.datetimes(timezones=st.just(UTC)).filter(lambda time: time.year >= 1000)
STATEMENTS = st.builds(
    BatchStatement,
    job_token=TEXT,
    batch=WHOLE,
    key_id=TEXT,
    epoch=WHOLE,
    holder=TEXT,
    algorithm=TEXT,
    count=WHOLE,
    first_id=TEXT,
    last_id=TEXT,
    root=st.binary(min_size=32, max_size=32),
    signed_at=TIMES,
)
ONE = BatchStatement(
    job_token="receipts-x1",
    batch=17,
    key_id="receipts-x1-4",
    epoch=9,
    holder="signer-0:7",
    algorithm="ED25519",
    count=2,
    first_id="801",
    last_id="802",
    root=bytes(range(32)),
    signed_at=datetime(2026, 11, 28, 6, 48, 58, 120, tzinfo=UTC),
)
BODY = (
    '{"algorithm":"ED25519","batch":17,"count":2,"epoch":9,"firstId":"801","holder":"signer-0:7",'
    '"jobToken":"receipts-x1","keyId":"receipts-x1-4","lastId":"802",'
    '"root":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f","signedAt":"2026-11-28T06:48:58.000120Z"}'
)


def test_a_statement_is_these_bytes() -> None:
    assert ONE.body == BODY
    assert signed_bytes(BODY) == (
        b"DSSEv1 51 application/vnd.vaultstream.batch-statement.v1+json 271 " + BODY.encode()
    )


def test_the_encoding_is_that_of_dsse() -> None:
    """The example of the specification."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_text_is_escaped_as_rfc_8785_does_it() -> None:
    """The text of its section 3.2.2.2 and the control characters of 3.2.2.2's rules."""
    body = replace(ONE, holder="\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/\b\t\f\r\x7f\u2028").body
    assert '"holder":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/\\b\\t\\f\\r\x7f\u2028"' in body


@given(STATEMENTS)
def test_a_statement_is_read_as_it_was_written(statement: BatchStatement) -> None:
    body = statement.body
    assert BatchStatement.parse(body) == statement
    assert list(json.loads(body)) == sorted(json.loads(body))
    assert body.isascii() or "\\u" not in body.replace("\\u00", "")


@given(STATEMENTS, st.timedeltas(timedelta(hours=-14), timedelta(hours=14)))
def test_a_time_is_stated_in_utc_whatever_its_zone(statement: BatchStatement, offset: timedelta) -> None:
    zone = timezone(offset - offset % timedelta(minutes=1))
    try:
        moved = replace(statement, signed_at=statement.signed_at.astimezone(zone))
    except OverflowError:
        return
    if moved.signed_at.year >= 1000:
        assert moved.body == statement.body


@given(STATEMENTS, STATEMENTS)
def test_two_statements_have_two_texts(one: BatchStatement, other: BatchStatement) -> None:
    assert (one.body == other.body) == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "1",
        "{}",
        BODY + " ",
        " " + BODY,
        BODY.replace(":17", ": 17"),
        BODY.replace(":17", ":17.0"),
        BODY.replace(":17", ':"17"'),
        BODY.replace(":17", ":true"),
        BODY.replace(":17", ":-1"),
        BODY.replace(":17", f":{2**53}"),
        BODY.replace(":17", ":1e1"),
        BODY.replace(":17", ":NaN"),
        BODY.replace(":17", ":" + "1" * 5000),
        BODY.replace('"801"', "801"),
        BODY.replace('"801"', "null"),
        BODY.replace('"801"', '"\\u0038\\u0030\\u0031"'),
        BODY.replace('"batch":17,"count":2', '"count":2,"batch":17'),
        BODY.replace('"batch":17', '"batch":16,"batch":17'),
        BODY.replace('"batch":17,', ""),
        BODY.replace('"batch":17', '"batch":17,"more":1'),
        BODY.replace("0a0b", "0A0B"),
        BODY.replace("0a0b", "0a"),
        BODY.replace("0a0b", "0a  "),
        BODY.replace(".000120Z", ".00012Z"),
        BODY.replace(".000120Z", "Z"),
        BODY.replace(".000120Z", ".000120+00:00"),
        BODY.replace("2026-", "0026-"),
        BODY.replace("-28T", "-31T"),
        BODY.replace("2026-11-28T06:48:58.000120Z", "9999-12-31T23:59:59-01:00"),
        BODY.replace("2026-11-28T06:48:58.000120Z", "0001-01-01T00:00:00+01:00"),
        "[" * 100_000,
    ],
)
def test_another_text_is_no_statement(text: str) -> None:
    assert text != BODY
    with pytest.raises(ValueError):  # noqa: PT011 - the messages are for people
        BatchStatement.parse(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"batch": -1},
        {"count": 2**53},
        {"epoch": -1},
        {"signed_at": datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)},
        {"signed_at": datetime(999, 1, 1, tzinfo=UTC)},
        {"signed_at": datetime.max.replace(tzinfo=timezone(timedelta(hours=-1)))},
    ],
)
def test_what_has_no_canonical_form_is_not_stated(changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="can't be in a statement"):
        _ = replace(ONE, **changed).body


@given(STATEMENTS)
def test_what_a_key_states_is_never_signed_as_a_payload(statement: BatchStatement) -> None:
    assert is_reserved(signed_bytes(statement.body))


@given(TEXT, st.binary())
def test_what_has_any_type_of_ours_is_reserved(name: str, body: bytes) -> None:
    assert is_reserved(pae(f"application/vnd.vaultstream.{name}", body))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"DSSEv1 ",
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world",
        b" " + signed_bytes(BODY),
        b"DSSEv1 x " + PAYLOAD_TYPE.encode(),
        b"DSSEv1  51 " + PAYLOAD_TYPE.encode(),
        PAYLOAD_TYPE.encode(),
        BODY.encode(),
    ],
)
def test_other_payloads_are_free_to_sign(payload: bytes) -> None:
    assert not is_reserved(payload)


PAYLOADS = st.sampled_from([b"", b"DSSEv1 ", b"DSSEv1 3 abc 0 ", signed_bytes(BODY)]) | st.binary()


@given(st.lists(PAYLOADS))
def test_one_reserved_payload_among_many_is_noticed(payloads: list[bytes]) -> None:
    if any(is_reserved(payload) for payload in payloads):
        assert any_begins(payloads, RESERVED_PREFIX)
    assert any_begins(payloads, RESERVED_PREFIX) == any(each.startswith(b"DSSEv1 ") for each in payloads)


IDS = st.integers(-(2**63), 2**63 - 1) | st.uuids() | TEXT
RECORDS = st.tuples(IDS, st.binary(min_size=32, max_size=32), st.binary(max_size=80))


@given(RECORDS, RECORDS)
@example(("1", bytes(32), b""), ("", bytes(32), b"1"))
def test_two_records_have_two_leaves(one: tuple[Any, bytes, bytes], other: tuple[Any, bytes, bytes]) -> None:
    same = (str(one[0]), *one[1:]) == (str(other[0]), *other[1:])
    assert (record_leaf(*one) == record_leaf(*other)) == same


def test_a_leaf_has_these_bytes() -> None:
    assert record_leaf("ß", bytes(range(32)), b"sig") == b"\0\0\0\x02\xc3\x9f" + bytes(range(32)) + b"sig"


@given(st.lists(RECORDS))
def test_the_hashes_of_records_are_those_of_their_leaves(records: list[tuple[Any, bytes, bytes]]) -> None:
    ids, digests, signatures = zip(*records, strict=True) if records else ((), (), ())
    assert record_hashes(ids, digests, signatures) == [leaf_hash(record_leaf(*each)) for each in records]
