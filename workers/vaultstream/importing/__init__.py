"""Loading files of records into Postgres: CSV, JSON lines or Parquet, either the whole file or nothing."""

from vaultstream.importing.loader import ImportReport, import_records
from vaultstream.importing.options import ImportOptions, Mode
from vaultstream.importing.source import Format

__all__ = ["Format", "ImportOptions", "ImportReport", "Mode", "import_records"]
