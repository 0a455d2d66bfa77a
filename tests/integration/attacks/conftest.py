"""A database with a login per role, and a NATS with a user per role: each attack runs as the one who would make it."""

from support.guarded_fixtures import database, nats, owner, tenants_database, tenants_nats
from support.merchant import merchant, receipts, sources

__all__ = ["database", "merchant", "nats", "owner", "receipts", "sources", "tenants_database", "tenants_nats"]
