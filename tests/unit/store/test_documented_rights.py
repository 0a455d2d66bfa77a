"""The page on security names each function that a role may call, and each right of the operator's account and of users of NATS."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import vaultstream
from vaultstream.bus.permissions import BusRole, permissions

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
ROLES = Path(vaultstream.__file__).parent / "store/sql/roles"
PAGE = (ROOT / "docs/security.md").read_text()
PARTS = ("operator", "keys", "records", "signing", "auditor")
FOR_ROW_SECURITY = {"sees", "tenant_scope", "is_public_key"}
"""Which the sentence below the table names."""


def cells(beginning: str) -> list[str]:
    [row] = [line for line in PAGE.splitlines() if line.startswith(beginning)]
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("part", PARTS)
def test_the_functions_that_a_role_may_call_are_those_of_the_page(part: str) -> None:
    text = (ROLES / f"{part}.sql").read_text()
    granted = {
        name
        for grant in re.findall(r"GRANT EXECUTE ON FUNCTION(.*?)TO vaultstream_", text, re.DOTALL)
        for name in re.findall(r"vaultstream\.(\w+)\(", grant)
    }
    named = set(re.findall(r"`(\w+)`", cells("| functions |")[1 + PARTS.index(part)]))
    assert granted - FOR_ROW_SECURITY == named
    assert all(f"`{name}`" in PAGE for name in FOR_ROW_SECURITY)


def test_each_resource_and_verb_of_the_operators_account_is_in_the_page() -> None:
    documents = yaml.safe_load_all((ROOT / "deploy/operator-rbac.yaml").read_text())
    [role] = [each for each in documents if each["kind"] == "ClusterRole"]
    row = {"pods": "| Pods |", "events": "| Events |"}
    for rule in role["rules"]:
        [resource] = rule["resources"]
        whole, _, part = resource.partition("/")
        said = cells(
            row.get(whole) or ("| SigningJobs |" if whole == "signingjobs" else "| Deployments, Jobs |")
        )[1]
        assert part in said, resource
        for verb in rule["verbs"]:
            assert verb in said, (resource, verb)


def test_whose_answers_a_user_of_nats_receives_is_in_the_page() -> None:
    for role in BusRole:
        [inbox] = permissions(role).subscribe
        assert f"`{inbox}`" in cells(f"| `{role}` | ")[2], role
