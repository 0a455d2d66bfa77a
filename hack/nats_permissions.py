"""The NATS permissions of each role as JSON, for the chart: maps a role to `permissions` in nats-server's configuration."""

from __future__ import annotations

import json

from vaultstream.bus.permissions import BusRole, permissions


def as_json() -> str:
    """Returns the content of the chart's file."""
    return json.dumps({role: permissions(role).to_config() for role in BusRole}, indent=2) + "\n"
