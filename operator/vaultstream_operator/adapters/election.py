"""One of several operators works: it holds a Lease (coordination.k8s.io/v1), which it renews. The others stand by.

As in client-go's leaderelection, times are measured by the own clock alone, from when a change of the Lease was seen: clocks of hosts
need not agree. That two operators work at once for a moment does no harm; see docs/how-it-works.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from vaultstream.errors import VaultStreamError
from vaultstream_operator.adapters.events import micro_time
from vaultstream_operator.adapters.kube_api import KubeApi, KubeError, KubeJson

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 8
"""After which a Lease that is not renewed may be taken over."""
RENEW_SECONDS: Final = 2.0
GIVE_UP_SECONDS: Final = 5.0
"""After which a leader that could not renew its Lease stops its work, before another one takes over."""
STANDBY_SECONDS: Final = 1.0
"""Interval at which those who stand by look at the Lease."""

_NOT_FOUND, _CONFLICT = 404, 409


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A Lease as it was last seen to change.

    Attributes:
        state: holder, transitions and time of the last renewal: it changes with each renewal.
        since: when it was first seen in this state, on the monotonic clock.
    """

    state: tuple[str, int, str]
    since: float

    @property
    def holder(self) -> str:
        return self.state[0]

    def seen(self, spec: Mapping[str, Any], now: float) -> SeenLease:
        """Returns the Lease as it is seen now."""
        state = state_of(spec)
        return self if state == self.state else SeenLease(state, now)

    def free_for(self, identity: str, now: float) -> bool:
        """Returns whether this operator may take it: it is nobody's, its own from before a restart, or was not renewed in time."""
        return self.holder in ("", identity) or now - self.since >= LEASE_SECONDS


def state_of(spec: Mapping[str, Any]) -> tuple[str, int, str]:
    """Returns what changes of a Lease when it is renewed or taken over."""
    renewed, transitions = str(spec.get("renewTime") or ""), spec.get("leaseTransitions") or 0
    return str(spec.get("holderIdentity") or ""), int(transitions), renewed


class Election:
    """The Lease by which operators elect their leader.

    Args:
        api: sends the requests.
        lease: namespace and name of the Lease, with a slash.
        identity: unique among the operators that run at the same time.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, api: KubeApi, lease: str, identity: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        namespace, _, self._name = lease.partition("/")
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._api, self._identity, self._clock = api, identity, clock
        self._seen: SeenLease | None = None
        self._held: KubeJson = {}

    async def acquire(self, beat: Callable[[str | None], None]) -> None:
        """Returns once this operator is the leader. `beat` is called at each attempt, with what is wrong, if anything is."""
        told = ""
        while True:
            try:
                async with asyncio.timeout(GIVE_UP_SECONDS):
                    leads = await self._take()
            except (VaultStreamError, TimeoutError) as error:
                problem = str(error) or "the API server does not answer."
                log.warning("can't elect a leader: %s", problem)
                beat(problem)
            else:
                if leads:
                    log.info("this operator leads", extra={"identity": self._identity})
                    return
                holder = self._seen.holder if self._seen else ""
                if holder and holder != told:
                    told = holder
                    log.info("standing by while another operator leads", extra={"leader": holder})
                beat(None)
            await asyncio.sleep(STANDBY_SECONDS)

    async def keep(self) -> None:
        """Renews the Lease; returns once it is lost, or could not be renewed for `GIVE_UP_SECONDS`."""
        renewed_at = self._clock()
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            left = renewed_at + GIVE_UP_SECONDS - self._clock()
            asked_at = self._clock()
            try:
                async with asyncio.timeout(max(0.0, left)):
                    if not await self._renew():
                        log.warning("another operator leads now")
                        return
            except (VaultStreamError, TimeoutError) as error:
                if self._clock() - renewed_at + RENEW_SECONDS > GIVE_UP_SECONDS:
                    problem = str(error) or "the API server does not answer"
                    log.warning("can't renew the Lease, and stop: %s", problem)
                    return
                continue
            renewed_at = asked_at

    async def release(self) -> None:
        """Gives the Lease back, so that another operator takes over at once."""
        if not self._held:
            return
        spec = {**self._held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        with suppress(VaultStreamError, TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS):
                await self._write(self._held, spec)

    async def _take(self) -> bool:
        """Tries once to take the Lease; returns whether this operator leads."""
        try:
            found = await self._api.get(f"{self._path}/{self._name}")
        except KubeError as error:
            if error.status != _NOT_FOUND:
                raise
            found = {}
        now, spec = self._clock(), found.get("spec") or {}
        self._seen = self._seen.seen(spec, now) if self._seen else SeenLease(state_of(spec), now)
        if not self._seen.free_for(self._identity, now):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + (self._seen.holder != self._identity)
        return await self._written(found, self._spec(transitions, acquired=micro_time(datetime.now(UTC))))

    async def _renew(self) -> bool:
        spec = self._held["spec"]
        if await self._written(
            self._held, self._spec(spec["leaseTransitions"], acquired=spec["acquireTime"])
        ):
            return True
        # Somebody has changed it, maybe a label: what counts is whose it is.
        self._held = await self._api.get(f"{self._path}/{self._name}")
        return bool((self._held.get("spec") or {}).get("holderIdentity") == self._identity)

    def _spec(self, transitions: int, *, acquired: str) -> KubeJson:
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": acquired,
            "renewTime": micro_time(datetime.now(UTC)),
            "leaseTransitions": transitions,
        }

    async def _written(self, found: KubeJson, spec: KubeJson) -> bool:
        """Writes the Lease over the version that was found; returns False if it has changed since."""
        try:
            self._held = await self._write(found, spec)
        except KubeError as error:
            if error.status not in (_CONFLICT, _NOT_FOUND):
                raise
            return False
        return True

    async def _write(self, found: KubeJson, spec: KubeJson) -> KubeJson:
        if not found:
            body = {"metadata": {"name": self._name}, "spec": spec}
            return await self._api.create(self._path, body)
        return await self._api.request("PUT", f"{self._path}/{self._name}", body={**found, "spec": spec})
