"""The documented Cluster of CloudNativePG is valid for its CRD; what its operator does with it is not tested here."""

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
    """A client of a server with CloudNativePG's CRD and the Cluster's namespace."""
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


async def test_the_documented_cluster_is_accepted_with_every_field(client: Client) -> None:
    made = await client.call("POST", STRICT, cluster())
    assert list(lost(cluster()["spec"], made["spec"])) == []


def lost(sent: Any, kept: Any, path: str = "spec") -> Iterator[str]:
    """Yields the path of every sent field that was not stored unchanged."""
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


def not_an_option(manifest: dict[str, Any]) -> None:
    manifest["spec"]["postgresql"]["synchronous"]["dataDurability"] = "mostly"


def of_wrong_type(manifest: dict[str, Any]) -> None:
    manifest["spec"]["postgresql"]["parameters"]["max_connections"] = 500


def without_instances(manifest: dict[str, Any]) -> None:
    manifest["spec"]["instances"] = 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (misspelt, "unknown field.*synchronus"),
        (not_an_option, "dataDurability.*mostly"),
        (of_wrong_type, "max_connections"),
        (without_instances, "instances"),
    ],
)
async def test_an_invalid_cluster_is_refused(
    client: Client, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    manifest = cluster()
    spoil(manifest)
    with pytest.raises(RefusedError, match=said):
        await client.call("POST", STRICT, manifest)


def test_it_creates_each_group_with_a_login() -> None:
    """The chart's production values need this, because they create no roles."""
    spec = cluster()["spec"]
    made = spec["bootstrap"]["initdb"]["postInitSQL"]
    assert made == [f"CREATE ROLE {role} NOLOGIN" for role in DatabaseRole]
    logins = {role["name"]: (role.get("inRoles", []), role["login"]) for role in spec["managed"]["roles"]}
    reads_records: dict[str, tuple[list[str], bool]] = {"signing_source": ([], True)}
    assert logins == reads_records | {f"signing_{role.part}": ([role], True) for role in DatabaseRole}
    values = yaml.safe_load((PRODUCTION / "vaultstream-values.yaml").read_text())
    assert values["migration"]["createRoles"] is False
