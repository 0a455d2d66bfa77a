"""JSON requests to a Kubernetes API server, over the login, TLS and connections of the asynchronous `kubernetes` client."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.config import ConfigException

from vaultstream.errors import ServiceError, UsageError, VaultStreamError, shown
from vaultstream.foreign_json import read_foreign_json

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

KubeJson = dict[str, Any]

KUBE_REQUEST_SECONDS = 15.0
"""Timeout of one request. The largest answers are lists of the operator's own objects."""
CONNECTIONS = 32

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
OBJECT_METADATA, LIST_OF_METADATA = "PartialObjectMetadata", "PartialObjectMetadataList"

_FAILURES = 400
_WHOLE = "application/json"
_BRIEF = "application/json;as={kind};g=meta.k8s.io;v=v1"


class KubeError(VaultStreamError):
    """The API server refused a request.

    Attributes:
        status: the HTTP status code.
        reason: one word for programs, such as NotFound, AlreadyExists or Conflict.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class UnreachableError(ServiceError):
    """The API server is unreachable, or the credentials for it can't be read."""


class KubeApi:
    """Requests to one API server; created by `open_kube_api`."""

    def __init__(self, api: client.ApiClient) -> None:
        self._api = api

    async def get(self, path: str, *, brief: str = "", **query: str) -> KubeJson:
        """Returns an object or a list, or with `brief` (OBJECT_METADATA, LIST_OF_METADATA) their metadata alone.

        Like the other methods, raises KubeError and UnreachableError.
        """
        return await self.request("GET", path, query=query, brief=brief)

    async def create(self, path: str, body: KubeJson, **query: str) -> KubeJson:
        return await self.request("POST", path, body=body, query=query)

    async def patch(
        self, path: str, body: KubeJson | list[KubeJson], content_type: str, *, brief: str = "", **query: str
    ) -> KubeJson:
        return await self.request(
            "PATCH", path, body=body, content_type=content_type, query=query, brief=brief
        )

    async def delete(self, path: str, body: KubeJson) -> KubeJson:
        return await self.request("DELETE", path, body=body)

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: KubeJson | list[KubeJson] | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        brief: str = "",
    ) -> KubeJson:
        """Sends one request and returns the object in the answer.

        Raises:
            KubeError: the API server refused the request.
            UnreachableError: it did not answer, or the credentials can't be read just now.
        """
        accept = _BRIEF.format(kind=brief) if brief else _WHOLE
        headers = {"Accept": accept, "Accept-Encoding": "identity", "Content-Type": content_type}
        await self._authorize(headers)
        url = f"{self._api.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            response = await self._api.rest_client.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=KUBE_REQUEST_SECONDS
            )
            data = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(
                f"The Kubernetes API server is unreachable: {shown(error)}.",
                hint="Check KUBECONFIG and the server. The operator resumes automatically.",
            ) from None
        answer = _parse(data)
        if response.status >= _FAILURES:
            raise KubeError(
                response.status, str(answer.get("reason", "")), str(answer.get("message", response.reason))
            )
        return answer

    async def _authorize(self, headers: dict[str, str]) -> None:
        """Adds the token, which the client reads from its file again about once a minute."""
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], "", "", None)
        except (ConfigException, OSError, ValueError) as error:
            raise UnreachableError(
                f"The credentials for the Kubernetes API server can't be read: {shown(error)}.",
                hint="Check the token of the pod's service account. The operator resumes automatically.",
            ) from None


@asynccontextmanager
async def open_kube_api(kubeconfig: str) -> AsyncIterator[KubeApi]:
    """Logs in with a kubeconfig, or with the pod's service account if `kubeconfig` is empty.

    Raises:
        UsageError: neither exists, or it can't be read.
    """
    configuration = client.Configuration()
    configuration.connection_pool_maxsize = CONNECTIONS
    try:
        if kubeconfig:
            await config.load_kube_config(  # type: ignore[no-untyped-call]
                config_file=kubeconfig, client_configuration=configuration, persist_config=False
            )
        else:
            await asyncio.to_thread(config.load_incluster_config, client_configuration=configuration)
    except (ConfigException, OSError) as error:
        raise UsageError(
            f"There are no credentials for a Kubernetes API server: {error}.",
            hint="Outside of a cluster, set KUBECONFIG to the path of a kubeconfig.",
        ) from None
    api = client.ApiClient(configuration)
    try:
        yield KubeApi(api)
    finally:
        await api.close()  # type: ignore[no-untyped-call]


def _parse(data: bytes) -> KubeJson:
    try:
        answer = read_foreign_json(data)
    except ValueError:
        return {"message": data.decode(errors="replace").strip()}
    return answer if isinstance(answer, dict) else {"message": str(answer)}


async def list_pages(
    api: KubeApi, path: str, *, brief: str = "", **query: str
) -> AsyncIterator[list[KubeJson]]:
    """Yields the items of a list in pages, of `limit` items if that is in the query. A page is asked for once the one before was handled."""
    while True:
        found = await api.get(path, brief=brief, **query)
        yield found.get("items") or []  # null: there are none
        if not (following := (found.get("metadata") or {}).get("continue")):
            return
        query["continue"] = following
