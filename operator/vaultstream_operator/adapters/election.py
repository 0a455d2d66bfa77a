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
RENEW_AGAIN_SECONDS: Final = 0.5
"""Interval at which a leader that could not renew its Lease tries again, until `GIVE_UP_SECONDS` are used up."""
STANDBY_SECONDS: Final = 1.0
"""Interval at which those who stand by look at the Lease."""

_NOT_FOUND, _CONFLICT = 404, 409


@dataclass(frozen=True, slots=True)
class SeenLease:
    """A Lease as it was last seen to change.

    Attributes:
        state: holder, transitions and time of the last renewal: it changes with each renewal.
        since: when it was first seen in this state, on the monotonic clock.
        handed_over: whether its leader has released it.
    """

    state: tuple[str, int, str]
    since: float
    handed_over: bool = False

    @property
    def holder(self) -> str:
        return self.state[0]

    def seen(self, spec: Mapping[str, Any], now: float) -> SeenLease:
        """Returns the Lease as it is seen now."""
        state = state_of(spec)
        return self if state == self.state else SeenLease(state, now, is_handed_over(spec))

    def free_for(self, identity: str, now: float) -> bool:
        """Returns whether this operator may take it: its leader released it, it is its own from before a restart, or was not renewed in time.

        If there is no Lease, or nobody's, somebody may just have deleted or emptied the Lease of a leader. By `GIVE_UP_SECONDS` after that,
        the leader has made it again, or has stopped.
        """
        if self.handed_over or self.holder == identity:
            return True
        return now - self.since >= (LEASE_SECONDS if self.holder else GIVE_UP_SECONDS)


def state_of(spec: Mapping[str, Any]) -> tuple[str, int, str]:
    """Returns what changes of a Lease when it is renewed or taken over."""
    renewed, transitions = str(spec.get("renewTime") or ""), spec.get("leaseTransitions") or 0
    return str(spec.get("holderIdentity") or ""), int(transitions), renewed


def is_handed_over(spec: Mapping[str, Any]) -> bool:
    """Returns whether a leader has released the Lease: it writes no holder, and a duration of 1 s."""
    return not spec.get("holderIdentity") and spec.get("leaseDurationSeconds") == 1


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
        self._attempt = asyncio.Lock()
        self._held: KubeJson = {}
        self._term: KubeJson = {}
        self._renewed_at = 0.0

    async def acquire(self, beat: Callable[[str | None], None]) -> None:
        """Returns once this operator is the leader. `beat` is called at each attempt, with what is wrong, if anything is."""
        told = ""
        while True:
            try:
                async with self._attempt, asyncio.timeout(GIVE_UP_SECONDS):
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
        next_at = self._renewed_at + RENEW_SECONDS
        while True:
            await asyncio.sleep(max(0.0, next_at - self._clock()))
            ends_at = self._renewed_at + GIVE_UP_SECONDS
            try:
                async with asyncio.timeout(max(0.0, ends_at - self._clock())):
                    if not await self._renew():
                        log.warning("another operator leads now")
                        return
            except (VaultStreamError, TimeoutError) as error:
                problem = str(error) or "the API server does not answer"
                next_at = self._clock() + RENEW_AGAIN_SECONDS
                if next_at >= ends_at:
                    log.warning("can't renew the Lease, and stop: %s", problem)
                    return
            else:
                next_at = self._renewed_at + RENEW_SECONDS

    async def release(self) -> None:
        """Gives the Lease back, so that another operator takes over at once. An attempt to acquire it ends before."""
        with suppress(VaultStreamError, TimeoutError):
            async with asyncio.timeout(RENEW_SECONDS), self._attempt:
                if self._held:
                    spec = {**self._spec(), "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._write(self._held, spec)

    async def _take(self) -> bool:
        """Tries once to take the Lease; returns whether this operator leads."""
        found = await self._find()
        now, spec = self._clock(), found.get("spec") or {}
        if self._seen is None:
            self._seen = SeenLease(state_of(spec), now, is_handed_over(spec))
        elif not found:  # it was deleted: its holder may still work
            spec = dict(zip(("holderIdentity", "leaseTransitions"), self._seen.state, strict=False))
        self._seen = self._seen.seen(spec, now)
        if not self._seen.free_for(self._identity, now):
            return False
        transitions = self._seen.state[1] + (self._seen.holder != self._identity)
        self._term = {"acquireTime": micro_time(datetime.now(UTC)), "leaseTransitions": transitions}
        return await self._claimed(found)

    async def _renew(self) -> bool:
        """Renews the Lease once; returns False if it is another's."""
        if await self._claimed(self._held):
            return True
        # Somebody has changed it, maybe a label, or deleted it: what counts is whose it is, and that it is renewed.
        self._held = await self._find()
        if self._held and state_of(self._held.get("spec") or {})[0] != self._identity:
            return False
        await self._claim(self._held)
        return True

    async def _find(self) -> KubeJson:
        """Returns the Lease; nothing if there is none."""
        try:
            return await self._api.get(f"{self._path}/{self._name}")
        except KubeError as error:
            if error.status != _NOT_FOUND:
                raise
            return {}

    async def _claimed(self, found: KubeJson) -> bool:
        """Claims the Lease; returns False if it has changed since it was found."""
        try:
            await self._claim(found)
        except KubeError as error:
            if error.status not in (_CONFLICT, _NOT_FOUND):
                raise
            return False
        return True

    async def _claim(self, found: KubeJson) -> None:
        """Writes the Lease over the version that was found. It counts from before the request: when it is written is not known."""
        asked_at = self._clock()
        self._held = await self._write(found, self._spec())
        self._renewed_at = asked_at

    def _spec(self) -> KubeJson:
        return {
            **self._term,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": micro_time(datetime.now(UTC)),
        }

    async def _write(self, found: KubeJson, spec: KubeJson) -> KubeJson:
        if not found:
            body = {"metadata": {"name": self._name}, "spec": spec}
            return await self._api.create(self._path, body)
        return await self._api.request("PUT", f"{self._path}/{self._name}", body={**found, "spec": spec})
