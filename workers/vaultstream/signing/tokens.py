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
_DECODER = json.JSONDecoder(strict=False)


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
    text = decoded.decode(json.detect_encoding(decoded), errors="replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("{"):
        return False
    try:
        found, _ = _DECODER.raw_decode(text)
    except RecursionError:  # deeper than this program reads; another may read it
        return True
    except ValueError:
        return False
    return isinstance(found, dict)
