"""The NATS account of a tenant, and what the account of the operator may do in it.

NATS checks subjects, but neither the body of a request nor its reply subject. Between users of one account this is enough to
separate roles, but not to separate tenants: who may create a stream could have it copy the stream of someone else. So each
tenant has an account of its own, in which all streams, subjects and permissions are the usual ones. The operator and the
auditor reach the JetStream of a tenant through service imports, under a prefix.

Workers that belong to no tenant have an account too: in that of the operator, a user could name an imported request as a reply
subject. The account of the operator has no JetStream of its own. It imports that of these workers without a prefix.
"""

from __future__ import annotations

from typing import Any

from vaultstream.bus.permissions import API, TENANT_API, BusRole, permissions
from vaultstream.role import WorkerRole

OPERATORS_ACCOUNT = "vaultstream"
"""The account of the operator and of the auditor."""
WORKERS_ACCOUNT = "workers"
"""The account of workers that belong to no tenant."""


def account_name(tenant: str | None) -> str:
    """Returns the name of the account of a tenant; None: that of workers without one."""
    return WORKERS_ACCOUNT if tenant is None else f"tenant-{tenant}"


def user_name(role: WorkerRole, tenant: str) -> str:
    """Returns the name of a tenant's user: names are unique over all accounts of a server."""
    return f"{role.value}-{tenant}"


def api_prefix(tenant: str) -> str:
    """Returns the prefix under which the operator's account reaches the JetStream of a tenant."""
    return TENANT_API.replace("*", tenant)


def account_config() -> dict[str, Any]:
    """Returns an account of workers in nats-server's configuration, without its users."""
    return {
        "jetstream": "enabled",
        "exports": [{"service": subject, "accounts": [OPERATORS_ACCOUNT]} for subject in _shared()],
    }


def imports_config(tenant: str | None) -> list[dict[str, Any]]:
    """Returns the imports of the operator's account that belong to a tenant; None: to workers without one."""
    return [
        {"service": {"account": account_name(tenant), "subject": subject}}
        | ({} if tenant is None else {"to": subject.replace(API, api_prefix(tenant), 1)})
        for subject in _shared()
    ]


def _shared() -> list[str]:
    """The requests that the operator and the auditor make to the JetStream of a tenant."""
    asked = {subject for role in (BusRole.OPERATOR, BusRole.AUDITOR) for subject in permissions(role).publish}
    return sorted(subject for subject in asked if subject.startswith(f"{API}."))
