"""The documented Cluster of CloudNativePG is one that its definition takes; what its operator makes of it is not tried here."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kube.client import RefusedError
from support.go_modules import sources
from support.waiting import eventually
from vaultstream.store.roles import DatabaseRole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kube.apiserver import ApiServer
    from kube.client import Client

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(shutil.which("go") is None, reason="the definition comes with a Go module"),
]

PRODUCTION = Path(__file__).parents[2] / "examples" / "production"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLUSTERS = "/apis/postgresql.cnpg.io/v1/namespaces/postgres/clusters"
STRICT = f"{CLUSTERS}?dryRun=All&fieldValidation=Strict"


def cluster() -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load((PRODUCTION / "postgres-cluster.yaml").read_text())
    return manifest


@pytest.fixture
async def client(api_server: ApiServer) -> Client:
    """A client of a server with CloudNativePG's definition, and the namespace of the Cluster."""
    client = api_server.client
    module = sources("cloudnative-pg", "github.com/cloudnative-pg/cloudnative-pg")
    text = (module / "config/crd/bases/postgresql.cnpg.io_clusters.yaml").read_text()
    definition = yaml.load(text, yaml.CSafeLoader)
    with suppress(RefusedError):
        await client.call("POST", DEFINITIONS, definition)
    with suppress(RefusedError):
        await client.call("POST", "/api/v1/namespaces", {"metadata": {"name": "postgres"}})

    async def established() -> bool:
        found = await client.call("GET", f"{DEFINITIONS}/{definition['metadata']['name']}")
        conditions = found.get("status", {}).get("conditions") or []
        states = {each["type"]: each["status"] for each in conditions}
        return states.get("Established") == "True" and await client.exists(CLUSTERS)

    await eventually(established, what="the definition is established")
    return client


async def test_the_documented_cluster_is_taken_field_by_field(client: Client) -> None:
    made = await client.call("POST", STRICT, cluster())
    assert list(lost(cluster()["spec"], made["spec"])) == []


def lost(sent: Any, kept: Any, path: str = "spec") -> Iterator[str]:
    """Every field of what was sent that is not kept as it was."""
    if isinstance(sent, dict) and isinstance(kept, dict):
        for name, value in sent.items():
            yield from lost(value, kept.get(name), f"{path}.{name}")
    elif isinstance(sent, list) and isinstance(kept, list) and len(sent) == len(kept):
        for number, (one, other) in enumerate(zip(sent, kept, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif sent != kept:
        yield path


def misspelt(manifest: dict[str, Any]) -> None:
    manifest["spec"]["postgresql"]["synchronus"] = manifest["spec"]["postgresql"].pop("synchronous")


def out_of_the_list(manifest: dict[str, Any]) -> None:
    manifest["spec"]["postgresql"]["synchronous"]["dataDurability"] = "mostly"


def of_another_type(manifest: dict[str, Any]) -> None:
    manifest["spec"]["postgresql"]["parameters"]["max_connections"] = 500


def without_instances(manifest: dict[str, Any]) -> None:
    manifest["spec"]["instances"] = 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (misspelt, "unknown field.*synchronus"),
        (out_of_the_list, "dataDurability.*mostly"),
        (of_another_type, "max_connections"),
        (without_instances, "instances"),
    ],
)
async def test_a_wrong_one_is_refused(
    client: Client, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    manifest = cluster()
    spoil(manifest)
    with pytest.raises(RefusedError, match=said):
        await client.call("POST", STRICT, manifest)


def test_it_makes_each_group_and_gives_each_a_login() -> None:
    """As the chart's production values need it, which make no roles."""
    spec = cluster()["spec"]
    made = spec["bootstrap"]["initdb"]["postInitSQL"]
    assert made == [f"CREATE ROLE {role} NOLOGIN" for role in DatabaseRole]
    logins = {role["name"]: (role["inRoles"], role["login"]) for role in spec["managed"]["roles"]}
    assert logins == {f"signing_{role.part}": ([role], True) for role in DatabaseRole}
    values = yaml.safe_load((PRODUCTION / "vaultstream-values.yaml").read_text())
    assert values["migration"]["createRoles"] is False
