"""Writes what others check without this database: signatures, one record with its proof."""
