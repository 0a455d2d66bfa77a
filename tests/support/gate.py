"""A gate in an API server: a request that a test names is held there before any of it is stored.

The API server asks our webhook about each request; while it is held, its client is in the middle of its work.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from kube.client import RefusedError
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from kube.apiserver import ApiServer

Body = dict[str, Any]

_CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
_PROBE = "gate-probe"
_RESOURCES = ["deployments", "jobs", "events", "signingjobs", "signingjobs/status", "configmaps"]
_HELD_SECONDS = 30
"""The longest time that an API server waits for a webhook."""


@dataclass(eq=False)
class Hold:
    """The next request that matches: it is held when it arrives, and refused on demand."""

    resource: str
    matches: Callable[[Body], bool]
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def came(self, *, seconds: float = 20.0) -> None:
        """Waits until the request has arrived."""
        await asyncio.wait_for(self._came.wait(), seconds)

    def refuse(self) -> None:
        """Refuses the request; requests like it pass from now on."""
        self._over.set()

    async def held(self) -> None:
        self._came.set()
        await self._over.wait()


@dataclass
class Gate:
    """Lets all requests pass, except the one to be held."""

    _holds: list[Hold] = field(default_factory=list)
    _probed: bool = False

    def hold(self, resource: str, matches: Callable[[Body], bool]) -> Hold:
        """Holds the next request that writes such an object to `resource`, a plural with or without a subresource."""
        hold = Hold(resource, matches)
        self._holds.append(hold)
        return hold

    @property
    def is_asked(self) -> bool:
        """Whether the API server already asks us."""
        return self._probed

    async def answer(self, request: web.Request) -> web.Response:
        asked = (await request.json())["request"]
        body = asked["object"] or asked["oldObject"]
        resource = "/".join(filter(None, (asked["resource"]["resource"], asked.get("subResource"))))
        self._probed = self._probed or resource == "configmaps"
        hold = next((h for h in self._holds if h.resource == resource and h.matches(body)), None)
        if hold is not None:
            self._holds.remove(hold)
            await hold.held()
        verdict: Body = {"uid": asked["uid"], "allowed": hold is None}
        if hold is not None:
            verdict["status"] = {"code": 403, "message": "a test holds it back"}
        return web.json_response(
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": verdict}
        )


@asynccontextmanager
async def open_gate(server: ApiServer, namespace: str) -> AsyncIterator[Gate]:
    """Opens a gate for writes in one namespace; returns when the API server has begun to ask it."""
    gate, app = Gate(), web.Application()
    app.router.add_post("/", gate.answer)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pair = server.authority.issue("gate", "gate", hosts=["127.0.0.1"])
    context.load_cert_chain(pair.certificate, pair.key)
    listening = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await listening.start()
    [(_, port)] = runner.addresses
    name = f"gate-{namespace}"
    document = _configuration(name, namespace, port, server.authority.pair.certificate.read_bytes())
    await server.client.call("POST", _CONFIGURATIONS, document)
    try:
        await eventually(lambda: _asked(server, namespace, gate), seconds=20)
        yield gate
    finally:
        await server.client.call("DELETE", f"{_CONFIGURATIONS}/{name}")
        await runner.cleanup()


async def _asked(server: ApiServer, namespace: str, gate: Gate) -> bool:
    path = f"/api/v1/namespaces/{namespace}/configmaps?dryRun=All"
    try:
        await server.client.call("POST", path, {"metadata": {"name": _PROBE}})
    except RefusedError as error:
        raise AssertionError("the API server does not ask the gate") from error
    return gate.is_asked


def _configuration(name: str, namespace: str, port: int, authority: bytes) -> Body:
    rule = {
        "apiGroups": ["", "apps", "batch", "events.k8s.io", "vaultstream.dev"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE", "DELETE"],
        "resources": _RESOURCES,
    }
    webhook = {
        "name": "gate.vaultstream.test",
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/",
            "caBundle": base64.b64encode(authority).decode(),
        },
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [rule],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": _HELD_SECONDS,
        "failurePolicy": "Fail",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook],
    }
