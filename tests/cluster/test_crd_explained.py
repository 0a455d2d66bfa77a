"""Every field of a SigningJob has a description, in the API server's schema and in `kubectl explain`."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from kube.client import RefusedError
from support.signingjobs import DEFINITIONS, install_definition
from support.waiting import eventually
from vaultstream_operator.api.crd import CRD_NAME, GROUP, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kube.apiserver import ApiServer
    from kube.client import Client

pytestmark = pytest.mark.cluster


DOCUMENT = f"/openapi/v3/apis/{GROUP}/{VERSION}"
SCHEMA = "dev.vaultstream.v1alpha1.SigningJob"


@pytest.fixture
async def client(api_server: ApiServer) -> Client:
    """A client of a server that has the CRD and publishes its schema, which happens a moment later."""
    client = api_server.client
    await install_definition(client)

    async def served() -> bool:
        with suppress(RefusedError):
            return SCHEMA in (await client.call("GET", DOCUMENT))["components"]["schemas"]
        return False

    await eventually(served)
    return client


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field at every depth, with its path as `kubectl explain` takes it."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    for below in ("items", "additionalProperties"):
        if isinstance(found := schema.get(below), dict):
            yield from fields(found, path)


async def test_every_published_field_has_a_description(client: Client) -> None:
    installed = await client.call("GET", f"{DEFINITIONS}/{CRD_NAME}")
    [version] = installed["spec"]["versions"]
    found = [
        path for path, _ in fields(version["schema"]["openAPIV3Schema"], "sj") if ".metadata" not in path
    ]
    assert "sj.spec.scaling.behavior.scaleUp.policies.value" in found
    assert "sj.status.scaling.changes.at" in found
    document = await client.call("GET", DOCUMENT)
    served = dict(fields(document["components"]["schemas"][SCHEMA], "sj"))
    assert sorted(served) == sorted([*found, "sj.metadata"])
    assert [path for path, field in served.items() if not field.get("description", "").strip()] == []


async def test_kubectl_explains_every_field(api_server: ApiServer, client: Client) -> None:
    installed = await client.call("GET", f"{DEFINITIONS}/{CRD_NAME}")
    [version] = installed["spec"]["versions"]
    explained = (await api_server.kubectl("explain", "sj", "--recursive")).stdout
    names = Counter(
        line.split()[0] for line in explained.splitlines() if line.startswith(" ") and "<" in line
    )
    ours = fields(version["schema"]["openAPIV3Schema"])
    wanted = Counter(path.rpartition(".")[2] for path, _ in ours if path.startswith((".spec", ".status")))
    assert sum(wanted.values()) > 100
    assert wanted - names == Counter()
    one = (await api_server.kubectl("explain", "sj.spec.scaling.cooldownPeriod")).stdout
    assert "Seconds without work before the signers are reduced to" in " ".join(one.split())
    assert "<no description>" not in one
