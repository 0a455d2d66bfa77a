"""The signing engine of VaultStream: keys, records and signing workers over Postgres and JetStream."""

__version__ = "0.1.0"
