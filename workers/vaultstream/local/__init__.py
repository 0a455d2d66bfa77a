"""The laptop form: embedded Postgres and NATS in one data directory, and a pool of worker processes."""
