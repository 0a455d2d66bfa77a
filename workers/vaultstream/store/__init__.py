"""Postgres, the authority: the schema, the leases, the batches and the signatures. The SQL lies beside it, in `sql/`."""
