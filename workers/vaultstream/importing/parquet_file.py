"""A Parquet file as a whole: whether it is one, and all of it is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from vaultstream.errors import ImportFileError

if TYPE_CHECKING:
    from vaultstream.importing.source import ImportSource

FAULTS = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading a Parquet file raises if it is damaged."""
_MAGIC = b"PAR1"
_FOOTER_END_BYTES = 8
_PIECE_BYTES = 1 << 20


def open_parquet(source: ImportSource) -> pq.ParquetFile:
    """Opens a file.

    Raises:
        ImportFileError: it is no Parquet file, is encrypted, or more than one file.
    """
    try:
        file = pq.ParquetFile(source.stream, page_checksum_verification=True)
        _ = file.schema_arrow.names
    except FAULTS as error:
        refuse_encrypted(source, error)
        raise ImportFileError(
            f"{source.subject} is not a Parquet file: {first_line(error)}.",
            hint="If it was one, the end is missing or damaged: download or create the file again.",
        ) from None
    _refuse_several_files(source, file)
    return file


def refuse_encrypted(source: ImportSource, error: Exception) -> None:
    """Raises ImportFileError if reading failed for the reason that a key is needed."""
    if "crypt" in str(error).lower():
        raise ImportFileError(
            f"{source.subject} is encrypted.", hint="Write a copy without encryption, and import that one."
        ) from None


def _refuse_several_files(source: ImportSource, file: pq.ParquetFile) -> None:
    """Refuses files one after the other, as `cat` makes them: only the last one's footer counts, and it misplaces the columns."""
    metadata, stream = file.metadata, source.stream
    columns = [
        group.column(place)
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for place in range(group.num_columns)
    ]
    starts = [(c.dictionary_page_offset or c.data_page_offset, c.total_compressed_size) for c in columns]
    end = max((start + size for start, size in starts), default=0)
    if not 0 <= end <= source.size:
        raise ImportFileError(
            f"{source.subject} is damaged: its footer names places that it does not have.",
            hint="Get the file again.",
        )
    stream.seek(end)
    left = source.size - _FOOTER_END_BYTES - metadata.serialized_size - stream.tell()
    piece = b""
    while left > 0 and (read := stream.read(min(left, _PIECE_BYTES))):
        piece, left = piece[-len(_MAGIC) * 2 + 1 :] + read, left - len(read)
        if _MAGIC * 2 in piece:
            raise ImportFileError(
                f"{source.subject} is more than one Parquet file, one after the other.",
                hint="Import them one by one, the later ones with --append.",
            )


def first_line(error: Exception) -> str:
    """Returns the first line of an error's text, to be followed by a full stop."""
    return str(error).split("\n", maxsplit=1)[0].rstrip(".")
