"""Loading files of records into Postgres: CSV, JSON lines or Parquet, all of a file or nothing of it."""

from vaultstream.importing.loader import ImportReport, import_records
from vaultstream.importing.options import ImportOptions, Mode
from vaultstream.importing.source import Format

__all__ = ["Format", "ImportOptions", "ImportReport", "Mode", "import_records"]
