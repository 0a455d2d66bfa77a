"""A database with a login per role, and a NATS with a user per role: each attack runs as the one who would make it."""

from support.guarded_fixtures import database, nats, owner, tenants_database, tenants_nats
from support.merchant import merchant, receipts, sources
from support.records_login import planned_job, planner
from support.signing_login import job, other, signer

__all__ = [
    "database",
    "job",
    "merchant",
    "nats",
    "other",
    "owner",
    "planned_job",
    "planner",
    "receipts",
    "signer",
    "sources",
    "tenants_database",
    "tenants_nats",
]
