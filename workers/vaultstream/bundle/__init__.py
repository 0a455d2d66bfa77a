"""Bundles: a job's records, signatures, statements, keys and seal in one folder, which is checked without the database."""
