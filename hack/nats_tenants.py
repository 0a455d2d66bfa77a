"""The accounts of tenants in NATS as JSON, for the chart and for a NATS of one's own: `NAMESPACE` stands for the tenant."""

from __future__ import annotations

import json

from vaultstream.bus.tenants import OPERATORS_ACCOUNT, account_config, account_name, imports_config, user_name
from vaultstream.role import WorkerRole

PLACEHOLDER = "NAMESPACE"


def as_json() -> str:
    """Returns the content of the chart's file."""
    parts = {
        "operatorsAccount": OPERATORS_ACCOUNT,
        "account": account_name(PLACEHOLDER),
        "users": {role.value: user_name(role, PLACEHOLDER) for role in WorkerRole},
        "config": account_config(),
        "imports": imports_config(PLACEHOLDER),
    }
    return json.dumps(parts, indent=2) + "\n"
