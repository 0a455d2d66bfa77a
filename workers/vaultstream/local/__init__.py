"""The laptop form: an embedded Postgres and NATS under one data directory."""
