"""How long a namespace has been lost."""

from __future__ import annotations

import pytest

from vaultstream_operator.adapters.namespaces import REMINDER_SECONDS, ServedNamespaces

pytestmark = pytest.mark.unit


def test_a_namespace_is_lost_since_the_first_refusal_until_it_is_found() -> None:
    now = 100.0
    namespaces = ServedNamespaces(["jobs"], clock=lambda: now)
    assert namespaces.lost_for("jobs") == 0.0
    assert namespaces.lose("jobs", "forbidden")
    for now in (102.0, 100.0 + REMINDER_SECONDS, 101.0 + REMINDER_SECONDS):
        namespaces.lose("jobs", "forbidden")
        assert namespaces.lost_for("jobs") == now - 100.0
    namespaces.find("jobs")
    assert namespaces.lost_for("jobs") == 0.0
    assert namespaces.lose("jobs", "forbidden")
    assert namespaces.lost_for("jobs") == 0.0
