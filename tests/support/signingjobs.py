"""SigningJobs on a real API server: installs their definition, submits manifests and parses the answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from kube.client import RefusedError
from kube.commands import until
from vaultstream_operator.api.crd import CRD_NAME, GROUP, PLURAL, VERSION, custom_resource_definition

if TYPE_CHECKING:
    from kube.client import Client

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def path_of(namespace: str, name: str = "", part: str = "") -> str:
    """Returns the path of a namespace's SigningJobs, of one of them, or of a part of one such as `status`."""
    path = f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}"
    return "/".join(step for step in (path, name, part) if step)


async def install_definition(client: Client) -> None:
    """Installs the SigningJob definition that the types generate, and returns when it is served."""
    try:
        await client.call("POST", DEFINITIONS, custom_resource_definition())
    except RefusedError as error:
        if error.status != 409:
            raise
        installed = await client.call("GET", f"{DEFINITIONS}/{CRD_NAME}")
        spec = custom_resource_definition()["spec"]
        await client.call("PUT", f"{DEFINITIONS}/{CRD_NAME}", installed | {"spec": spec})
    await until(
        "the resource SigningJob",
        lambda: client.exists(path_of("default")),
        seconds=30,
        hint="See the conditions of the CustomResourceDefinition.",
    )


def manifest(spec: str = "", *, name: str = "job", records: str = "records: {table: t}") -> dict[str, Any]:
    """Returns a SigningJob with `records` and the given lines of YAML in its spec."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "SigningJob",
        "metadata": {"name": name},
        "spec": yaml.safe_load(f"{records}\n{spec}") or {},
    }


async def try_out(client: Client, namespace: str, job: dict[str, Any]) -> dict[str, Any]:
    """Has the server validate `job` and fill in defaults as if it were created, without unknown fields; returns the object.

    Raises:
        RefusedError: the server does not accept it.
    """
    return await client.call("POST", path_of(namespace) + "?dryRun=All&fieldValidation=Strict", job)


async def refusal(client: Client, namespace: str, job: dict[str, Any]) -> str | None:
    """Returns why the server does not accept `job`; None: it does."""
    try:
        await try_out(client, namespace, job)
    except RefusedError as error:
        return str(error.body["message"])
    return None
