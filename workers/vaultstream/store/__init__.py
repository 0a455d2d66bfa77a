"""Postgres, the authority: schema, leases, batches, signatures. The SQL is beside it, in `sql/`."""
