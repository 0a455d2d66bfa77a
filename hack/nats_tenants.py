"""The accounts of tenants in NATS: as JSON for the chart, and as a file of users for a NATS of one's own.

In the JSON, `NAMESPACE` stands for the tenant. The file has two tenants, and a placeholder for each password's hash.
"""

from __future__ import annotations

import json

from vaultstream.bus.permissions import BusRole, permissions
from vaultstream.bus.tenants import (
    OPERATORS_ACCOUNT,
    WORKERS_ACCOUNT,
    account_config,
    account_name,
    imports_config,
    user_name,
)
from vaultstream.role import WorkerRole

PLACEHOLDER = "NAMESPACE"
TENANTS = ("team-a", "team-b")
HASH = "$2a$..."
"""What stands where the hash of a password belongs."""


def as_json() -> str:
    """Returns the content of the chart's file."""
    parts = {
        "operatorsAccount": OPERATORS_ACCOUNT,
        "workersAccount": WORKERS_ACCOUNT,
        "workersImports": imports_config(None),
        "account": account_name(PLACEHOLDER),
        "users": {role.value: user_name(role, PLACEHOLDER) for role in WorkerRole},
        "config": account_config(),
        "imports": imports_config(PLACEHOLDER),
    }
    return json.dumps(parts, indent=2) + "\n"


def example() -> str:
    """Returns the content of examples/production/nats-tenants.conf, in nats-server's own syntax."""
    imports = [each for tenant in (None, *TENANTS) for each in imports_config(tenant)]
    lines = [
        "# users.conf for two tenants; see docs/production.md. Generated: replace each hash by that of a password (`nats server passwd`).",
        "accounts {",
        *_account(
            OPERATORS_ACCOUNT,
            {str(role): role for role in (BusRole.OPERATOR, BusRole.AUDITOR)},
            {"imports": imports},
            jetstream=False,
        ),
        "  # Of workers without a tenant: add the users `keys`, `records` and `signing` if you need them.",
        *_account(WORKERS_ACCOUNT, {}, {"exports": account_config()["exports"]}),
    ]
    for tenant in TENANTS:
        users = {user_name(role, tenant): BusRole(role.value) for role in WorkerRole}
        lines += _account(account_name(tenant), users, {"exports": account_config()["exports"]})
    return "\n".join([*lines, "}", ""])


def _account(
    name: str, users: dict[str, BusRole], lists: dict[str, list[dict[str, object]]], *, jetstream: bool = True
) -> list[str]:
    people: list[dict[str, object]] = [
        {"user": user, "password": HASH, "permissions": permissions(role).to_config()}
        for user, role in users.items()
    ]
    lines = [f'  "{name}" {{', *(["    jetstream: enabled"] if jetstream else [])]
    for key, rows in {"users": people, **lists}.items():
        lines += [f"    {key}: [", *(f"      {json.dumps(row)}" for row in rows), "    ]"]
    return [*lines, "  }"]
