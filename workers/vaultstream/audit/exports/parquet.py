"""Signatures as Parquet, in the columns that `vaultstream.audit.exports.formats` lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
from pyarrow import parquet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vaultstream.audit.exports.formats import ExportedSignature


class ParquetWriter:
    """Writes signatures as Parquet; implements `Writer` of `vaultstream.audit.exports.formats`."""

    def __init__(self, stream: BinaryIO, id_type: str, *, jws: bool = False) -> None:
        self._integer_ids = id_type == "bigint"
        self._schema = pa.schema(
            [
                pa.field("record_id", pa.int64() if self._integer_ids else pa.string(), nullable=False),
                pa.field("payload_sha256", pa.binary(32), nullable=False),
                pa.field("key_id", pa.string()),
                pa.field("key_state", pa.string()),
                pa.field("algorithm", pa.string()),
                pa.field("signature", pa.binary(), nullable=False),
                pa.field("signed_at", pa.timestamp("us", tz="UTC"), nullable=False),
                pa.field("epoch", pa.int32(), nullable=False),
                *([pa.field("jws", pa.string())] if jws else []),
            ]
        )
        self._writer = parquet.ParquetWriter(stream, self._schema, compression="zstd")

    def write(self, signatures: Sequence[ExportedSignature]) -> None:
        columns = {
            name: [getattr(signature, name) for signature in signatures] for name in self._schema.names
        }
        if self._integer_ids:
            columns["record_id"] = [int(record) for record in columns["record_id"]]
        self._writer.write_table(pa.table(columns, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
