from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from vaultstream.api import Algorithm
from vaultstream.crypto.envelope import WrappedKey, rewrap, unwrap, wrap
from vaultstream.crypto.keyring import KeyEncryptionKey, KeyRing
from vaultstream.errors import CustodyError

pytestmark = pytest.mark.unit

KEK, OTHER = KeyEncryptionKey.generate(), KeyEncryptionKey.generate()
RING = KeyRing((KEK, OTHER))

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=40)
versions = st.integers(1, 2**31 - 2)
secrets = st.binary(min_size=1, max_size=2000)
states = st.sampled_from(["active", "retired", "revoked"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def sealed(draw: st.DrawFn) -> tuple[bytes, WrappedKey]:
    secret = draw(secrets)
    envelope = wrap(
        draw(st.sampled_from([KEK, OTHER])),
        secret,
        job=draw(names),
        key_id=draw(names),
        version=draw(versions),
        algorithm=draw(st.sampled_from(Algorithm)),
        state=draw(states),
    )
    return secret, envelope


@given(sealed())
def test_a_wrapped_key_unwraps_after_it_was_sent_as_a_message(case: tuple[bytes, WrappedKey]) -> None:
    secret, envelope = case
    again = WrappedKey.from_message(envelope.to_message())
    assert again == envelope
    assert unwrap(RING, again) == secret


@given(sealed())
def test_a_rewrapped_key_is_the_same_key_in_the_next_version(case: tuple[bytes, WrappedKey]) -> None:
    secret, envelope = case
    after = rewrap(RING, envelope)
    assert unwrap(KeyRing((KEK,)), after) == secret
    assert after.version == envelope.version + 1
    assert after.wrapped != envelope.wrapped


@given(sealed(), st.data())
def test_any_changed_byte_of_an_envelope_is_refused(
    case: tuple[bytes, WrappedKey], data: st.DataObject
) -> None:
    _, envelope = case
    changed = bytearray(envelope.wrapped)
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(CustodyError):
        unwrap(RING, replace(envelope, wrapped=bytes(changed)))


@given(sealed(), sealed(), st.sampled_from(["job", "key_id", "version", "algorithm", "kek_id"]))
def test_any_changed_field_of_an_envelope_is_refused(
    case: tuple[bytes, WrappedKey], other: tuple[bytes, WrappedKey], field: str
) -> None:
    _, envelope = case
    value = getattr(other[1], field)
    assume(value != getattr(envelope, field))
    changed = replace(envelope)
    object.__setattr__(changed, field, value)
    with pytest.raises(CustodyError):
        unwrap(RING, changed)


@given(st.text(st.characters(codec="utf-8"), min_size=3, max_size=20), st.data())
def test_moving_the_boundary_between_job_and_key_is_refused(text: str, data: st.DataObject) -> None:
    places = st.integers(1, len(text) - 1)
    one, other = data.draw(st.lists(places, min_size=2, max_size=2, unique=True))
    envelope = wrap(KEK, b"secret", job=text[:one], key_id=text[one:], version=1, algorithm=Algorithm.ED25519)
    with pytest.raises(CustodyError):
        unwrap(RING, replace(envelope, job=text[:other], key_id=text[other:]))


def only_custody_error(data: bytes) -> None:
    try:
        WrappedKey.from_message(data)
    except CustodyError as refused:
        assert refused.__cause__ is None  # noqa: PT017 - both outcomes are good, no other error is


@given(st.binary(max_size=500))
@example(b"{}")
def test_arbitrary_bytes_are_read_or_refused_by_the_documented_error(data: bytes) -> None:
    only_custody_error(data)


@given(json_values)
def test_arbitrary_json_is_read_or_refused_by_the_documented_error(value: object) -> None:
    only_custody_error(json.dumps(value).encode())


@given(sealed(), st.sampled_from(list(WrappedKey.__dataclass_fields__)), json_values)
def test_a_message_with_an_arbitrary_field_is_read_or_refused(
    case: tuple[bytes, WrappedKey], field: str, value: object
) -> None:
    only_custody_error(json.dumps({**json.loads(case[1].to_message()), field: value}).encode())


@given(sealed(), st.data())
def test_a_message_cut_short_is_refused(case: tuple[bytes, WrappedKey], data: st.DataObject) -> None:
    message = case[1].to_message()
    with pytest.raises(CustodyError):
        WrappedKey.from_message(message[: data.draw(st.integers(0, len(message) - 1))])
