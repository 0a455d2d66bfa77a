"""Recognizes payloads that are the signing input of a token: signed, they become one.

A JWS is signed over `base64url(header) "." base64url(payload)` (RFC 7515), or over `base64url(header) "." payload` if its header says
so (RFC 7797). A DSSE envelope, as of an in-toto attestation, is signed over what begins with `DSSEv1 `. The header is a JSON object. Programs decode it with more or less care; whatever some of them take counts.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_DSSE = b"DSSEv1 "
_IGNORED = r"(?>[\x00-\x20\x7f\x85\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u2060\u3000\ufeff]|/\*.*?\*/|(?://|\#)[^\r\n]*[\r\n])*+"
"""White space of any alphabet, control characters and comments: some readers skip each of them."""
_NAME = r"""(?>"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|[\w$-]++)"""
_OBJECT = re.compile(rf"{_IGNORED}\{{{_IGNORED}(?:\}}|{_NAME}{_IGNORED}[:=])", re.DOTALL)
"""How an object begins: empty, or with a name. What follows is not read, so nothing in it hides the object."""


def is_token(payload: bytes) -> bool:
    """Whether a signature over the payload's bytes makes a token or a DSSE envelope of it, however lenient its reader."""
    if payload.startswith(_DSSE):
        return True
    header, dot, _ = payload.partition(b".")
    if not dot:
        return False
    encoded = header.translate(_URL_ALPHABET)
    # Decoders stop at padding, or skip it; they skip what is not of the alphabet.
    return any(_begins_with_object(each) for each in {encoded, encoded.partition(b"=")[0]})


def _begins_with_object(encoded: bytes) -> bool:
    clean = _NOT_BASE64.sub(b"", encoded)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    decoded = b64decode(clean + b"=" * (-len(clean) % 4))
    encodings = {"utf-8", json.detect_encoding(decoded)}  # a leading NUL looks like UTF-16
    return any(_OBJECT.match(decoded.decode(each, errors="replace")) for each in encodings)
