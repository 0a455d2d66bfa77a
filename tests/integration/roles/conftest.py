"""A database with a login per role, and a NATS with a user per role, shared by the tests of this folder."""

from support.guarded_fixtures import database, nats, owner, tenants_database, tenants_nats

__all__ = ["database", "nats", "owner", "tenants_database", "tenants_nats"]
