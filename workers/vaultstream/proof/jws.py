"""Records signed as a JWS (RFC 7515): which job and record a signature is for is under the signature.

    header     canonical JSON (RFC 8785) with alg, kid, typ, and two names of our own: the job's token, and the record's id as text
    signed     base64url(header) "." base64url(payload)
    compact    base64url(header) "." base64url(payload) "." base64url(signature); the payload is left out of the middle if it is
               detached (RFC 7515, appendix F)

`typ` is explicit (RFC 8725, section 3.11): who accepts tokens of other types can refuse this one.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass

JWS_TYPE = "vnd.vaultstream.record+jws"
"""The media type without its `application/`."""
JOB_HEADER, RECORD_HEADER = "vaultstream.dev/job", "vaultstream.dev/record"


@dataclass(frozen=True)
class JwsForm:
    """How a job signs its records as JWS."""

    alg: str
    """The algorithm's name in JOSE."""
    job_token: str

    def header(self, key_id: str, record_id: str) -> dict[str, str]:
        """Returns the protected header of a record's JWS."""
        return {
            "alg": self.alg,
            "kid": key_id,
            "typ": JWS_TYPE,
            JOB_HEADER: self.job_token,
            RECORD_HEADER: record_id,
        }

    def signing_input(self, key_id: str, record_id: str, payload: bytes) -> bytes:
        """Returns the bytes that are signed."""
        return self._encoded_header(key_id, record_id) + b"." + _base64url(payload)

    def detached(self, key_id: str, record_id: str, signature: bytes) -> str:
        """Returns the compact serialization without the payload.

        Args:
            key_id: the key.
            record_id: the record's id, as text.
            signature: as JOSE has it: of ECDSA, r and s.
        """
        return (self._encoded_header(key_id, record_id) + b".." + _base64url(signature)).decode("ascii")

    def _encoded_header(self, key_id: str, record_id: str) -> bytes:
        header = json.dumps(self.header(key_id, record_id), ensure_ascii=False, separators=(",", ":"))
        return _base64url(header.encode())


def attached(detached: str, payload: bytes) -> str:
    """Returns a compact serialization with its payload."""
    header, _, signature = detached.split(".")
    return f"{header}.{_base64url(payload).decode('ascii')}.{signature}"


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
