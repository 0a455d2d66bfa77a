"""The formats that signatures are exported in.

| Field            | jsonl, csv                               | parquet                    |
|------------------|------------------------------------------|----------------------------|
| record_id        | text, even if it is a number             | int64, or string           |
| payload_sha256   | hex                                      | fixed-size binary, 32 bytes|
| key_id           | text                                     | string                     |
| key_state        | active, retired or revoked               | string                     |
| algorithm        | text                                     | string                     |
| signature        | base64                                   | binary                     |
| signed_at        | RFC 3339, UTC, microseconds              | timestamp, UTC, µs         |
| epoch            | number                                   | int32                      |
| jws              | text, detached; only of jobs that sign JWS | string                   |

A spreadsheet runs a cell of a CSV file that begins like a formula. An apostrophe before it prevents that; `read_cell` removes it.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from vaultstream.api import Algorithm
from vaultstream.crypto.algorithms import JWS_ALG, known_algorithm
from vaultstream.crypto.raw_ecdsa import raw_ecdsa
from vaultstream.errors import AuditError, CustodyError, MissingExtraError
from vaultstream.proof.jws import JwsForm
from vaultstream.visible import visible_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class ExportFormat(StrEnum):
    """The form of an export."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


class SignatureFormat(StrEnum):
    """The encoding of ECDSA signatures in an export. Those of the other algorithms have one encoding."""

    DER = "der"
    """A DER sequence of r and s, as OpenSSL and X.509 have it. It is how signatures are stored."""
    RAW = "raw"
    """r and s, 32 bytes each, as JOSE and WebCrypto have it."""


@dataclass(frozen=True, slots=True)
class ExportedSignature:
    """A signature with all that is needed to check it, except the payload and the public key that `key_id` names."""

    record_id: str
    payload_sha256: bytes
    key_id: str | None
    key_state: str | None
    algorithm: str | None
    signature: bytes
    signed_at: datetime
    epoch: int
    jws: str | None = None
    """The compact JWS with its payload detached (RFC 7515, appendix F); None: the signature is over the payload's bytes."""

    def with_jws(self, job_token: str) -> ExportedSignature:
        """Returns the signature with its JWS, for a job that signs these.

        What someone has changed so that no JWS can be made of it stays as it is: `verify` says what is wrong with it.
        """
        if self.key_id is None or self.algorithm is None:
            return self
        try:
            form = JwsForm(JWS_ALG[known_algorithm(self.algorithm)], job_token)
            signature = self.encoded(SignatureFormat.RAW).signature
        except (CustodyError, AuditError):
            return self
        return replace(self, jws=form.detached(self.key_id, self.record_id, signature))

    def encoded(self, form: SignatureFormat) -> ExportedSignature:
        """Returns the signature in an encoding.

        Raises:
            AuditError: an ECDSA signature is not DER, as stored: someone has changed it.
        """
        if form is SignatureFormat.DER or self.algorithm != Algorithm.ECDSA_P256_SHA256:
            return self
        try:
            return replace(self, signature=raw_ecdsa(self.signature))
        except ValueError:
            raise AuditError(
                f"The signature of record {self.record_id!r} is not an ECDSA signature in DER.",
                hint="`vaultstream verify` lists the signatures that were changed. `--signature-format der` exports them as they are stored.",
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Returns the signature as JSON-ready values: bytes as hex or base64, the time in RFC 3339."""
        jws = {} if self.jws is None else {"jws": self.jws}
        return {
            "record_id": self.record_id,
            "payload_sha256": self.payload_sha256.hex(),
            "key_id": self.key_id,
            "key_state": self.key_state,
            "algorithm": self.algorithm,
            "signature": b64encode(self.signature).decode("ascii"),
            "signed_at": rfc3339(self.signed_at),
            "epoch": self.epoch,
            **jws,
        }


def fields(*, jws: bool) -> tuple[str, ...]:
    """Returns the names of the columns; `jws` is one of them if the job signs JWS."""
    return tuple(name for name in ExportedSignature.__dataclass_fields__ if jws or name != "jws")


def rfc3339(moment: datetime) -> str:
    """Returns a time in RFC 3339, in UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _json(signature: ExportedSignature) -> str:
    return visible_json(json.dumps(signature.to_json(), ensure_ascii=False))


class Writer(Protocol):
    """Writes signatures to a stream of bytes."""

    def write(self, signatures: Sequence[ExportedSignature]) -> None: ...
    def close(self) -> None:
        """Writes the end of the output; the stream stays open."""


def open_writer(form: ExportFormat, stream: BinaryIO, *, id_type: str, jws: bool = False) -> Writer:
    """Returns a writer for a format.

    Args:
        form: the format.
        stream: the output; the caller closes it.
        id_type: the type of the job's ids: bigint, uuid or text.
        jws: whether the job signs JWS.

    Raises:
        MissingExtraError: the format is Parquet and pyarrow is not installed.
    """
    match form:
        case ExportFormat.JSONL:
            return _JsonLines(stream)
        case ExportFormat.CSV:
            return _Csv(stream, fields(jws=jws))
        case ExportFormat.PARQUET:
            return _parquet(stream, id_type, jws=jws)


def _parquet(stream: BinaryIO, id_type: str, *, jws: bool) -> Writer:
    try:
        from vaultstream.audit.exports.parquet import ParquetWriter  # noqa: PLC0415 - not installed everywhere
    except ModuleNotFoundError:
        raise MissingExtraError(
            "Parquet",
            "pyarrow",
            extra="parquet",
            otherwise=", or export to jsonl or csv. The container image does not include it.",
        ) from None
    return ParquetWriter(stream, id_type, jws=jws)


_GUARD = "'"
_HARMLESS = re.compile(r"-?\d+(\.\d+)?|-{1,2}[A-Za-z]+(-[A-Za-z]+)*", re.ASCII)
"""Numbers, and words like an option of a command: a spreadsheet computes nothing from letters without digits and parentheses."""
_UNSEEN = (
    r"\s\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff"
)
"""What a spreadsheet may skip before it looks for a formula."""
_FORMULA = re.compile(rf"[{_UNSEEN}]*[=+\-@＝＋－＠]|[\t\r\n']")  # noqa: RUF001 - spreadsheets take wide signs for the others
_QUOTED = re.compile(r"[\",;|\s]")
"""Cells that are quoted: for RFC 4180, and because programs split at semicolons or tabs in some countries."""


def write_cell(value: object) -> str:
    """Returns a value as a cell of a CSV file; None is an empty cell.

    A cell that begins like a formula, or with an apostrophe, gets an apostrophe in front. A number does not, nor a word like `--help`.
    """
    text = "" if value is None else str(value)
    if _FORMULA.match(text) and not _HARMLESS.fullmatch(text):
        text = _GUARD + text
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def read_cell(text: str) -> str:
    """Returns the value of a cell that a CSV reader has unquoted."""
    return text.removeprefix(_GUARD)


class _JsonLines:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, signatures: Sequence[ExportedSignature]) -> None:
        lines = (_json(signature) + "\n" for signature in signatures)
        self._stream.write("".join(lines).encode())

    def close(self) -> None:
        self._stream.flush()


class _Csv:
    def __init__(self, stream: BinaryIO, fields: Sequence[str]) -> None:
        self._stream = stream
        self._fields = fields
        self._put([fields])

    def write(self, signatures: Sequence[ExportedSignature]) -> None:
        rows = (signature.to_json() for signature in signatures)
        self._put([row.get(name) for name in self._fields] for row in rows)

    def _put(self, rows: Iterable[Iterable[object]]) -> None:
        lines = (",".join(write_cell(value) for value in row) + "\n" for row in rows)
        self._stream.write("".join(lines).encode())

    def close(self) -> None:
        self._stream.flush()
