"""Payloads that a signature makes a token of, as PyJWT and others read them."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.signing.tokens import is_token

pytestmark = pytest.mark.unit

HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": "receipts-1"}


def part(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


BODY = part(json.dumps({"sub": "admin"}).encode())
TEXT = json.dumps(HEADER).encode()


@pytest.mark.parametrize(
    "payload",
    [
        part(TEXT) + b"." + BODY,
        part(TEXT) + b".",
        part(TEXT) + b"." + BODY + b"." + part(b"another signature"),
        part(json.dumps({"alg": "EdDSA", "b64": False, "crit": ["b64"]}).encode()) + b".any {text} at all",
        urlsafe_b64encode(TEXT + b" ") + b"." + BODY,
        urlsafe_b64encode(TEXT + b"  ") + b"!." + BODY,
        b64encode(b'{"alg":"EdDSA","x":"\xc3\xbf\xc3\xbf\xc3\xbf"}') + b"." + BODY,
        b"  " + part(TEXT) + b"\n." + BODY,
        b'"' + part(TEXT) + b"." + BODY,
        part(b"\r\n\t " + TEXT) + b"." + BODY,
        part(b"\xef\xbb\xbf" + TEXT) + b"." + BODY,
        part(TEXT.decode().encode("utf-16-le")) + b"." + BODY,
        part(TEXT.decode().encode("utf-32")) + b"." + BODY,
        part(b'{"alg":"EdDSA","deep":' + b"[" * 100_000 + b"]" * 100_000 + b"}") + b"." + BODY,
        part(b'{"alg":"EdDSA","kid":"\xff"}') + b"." + BODY,
        part(b"{}") + b"." + BODY,
        part(b'{"alg":"ES256","x":' + b"1" * 5000 + b"}") + b"." + BODY,
        part(b'{"alg":"ES256",}') + b"." + BODY,
        part(b'/*x*/ // y\n # z\n{ /* */ "alg":"ES256"}') + b"." + BODY,
        part(b'{"x":01,"alg":"ES256"}') + b"." + BODY,
        part(b"{'alg':'ES256'}") + b"." + BODY,
        part(b'{alg:"ES256"}') + b"." + BODY,
        part(b'{"a\\"b":1,"alg":"ES256"}') + b"." + BODY,
        *(part(space.encode() + TEXT) + b"." + BODY for space in "\0\v\f\x1f\x85\xa0\u2028\u3000"),
        b"DSSEv1 28 application/vnd.in-toto+json 2 {}",
        b"DSSEv1 ",
    ],
)
def test_what_some_reader_takes_for_a_token_is_one(payload: bytes) -> None:
    assert is_token(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b".",
        b"..",
        b'{"amount": 12.50, "memo": "eyJhbGciOiJFUzI1NiJ9.e30"}',
        b"The receipt of 3.50 for Ann.",
        b"extra. text",
        b"DSSEv1",
        b"12.50",
        part(TEXT),
        part(b"[1, 2]") + b"." + BODY,
        part(b'"text"') + b"." + BODY,
        part(b"{not JSON") + b"." + BODY,
        part(b'{"a name without an end') + b"." + BODY,
        part(b"{" + b"/**/" * 20_000 + b"x") + b"." + BODY,
        part(b"/*" * 20_000) + b"." + BODY,
        bytes(range(256)),
    ],
)
def test_an_ordinary_payload_is_none(payload: bytes) -> None:
    assert not is_token(payload)


@given(
    st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3),
    st.sampled_from(["", " ", "\n"]),
    st.binary(max_size=20),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_whatever_pyjwt_takes_for_a_token_is_one(
    more: dict[str, object], space: str, body: bytes, encoding: str
) -> None:
    key = Ed25519PrivateKey.generate()
    header = space + json.dumps({**more, **HEADER})
    payload = part(header.encode(encoding)) + b"." + part(body)
    token = payload + b"." + part(key.sign(payload))
    try:
        read = jwt.api_jws.decode(token, key.public_key(), algorithms=["EdDSA"])
    except jwt.PyJWTError:
        return
    assert read == body
    assert is_token(payload)


@given(st.binary(max_size=60))
def test_any_bytes_can_be_judged(payload: bytes) -> None:
    assert is_token(payload) in {True, False}
