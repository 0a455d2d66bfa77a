"""The namespaces that the operator serves, and those that it has lost: where it may no longer list what it watches.

Pure bookkeeping. A namespace is lost alone, and found again by itself; the others are served as before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

log = logging.getLogger(__name__)

REMINDER_SECONDS: Final = 300.0
"""Interval between log lines about a namespace that stays lost."""

_NOT_SELECTED: Final = "it no longer has the labels of the namespace selector. Give it these labels again."
_NOT_NAMED: Final = "it is no longer in the operator's list of namespaces. Add it to jobNamespaces again, or delete its SigningJobs."

_LIST: Final = "Give the operator the right to list namespaces, which its selector needs."


@dataclass(slots=True)
class _Loss:
    problem: str
    since: float
    logged_at: float


class ServedNamespaces:
    """Which namespaces are to be served, and which of them are.

    Args:
        named: namespaces to serve, whether or not they exist.
        selector: a label selector; namespaces that it selects are served too.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        named: Iterable[str] = (),
        selector: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._named = frozenset(named)
        self.selector = selector
        self._clock = clock
        self._selected: frozenset[str] = frozenset()
        self._unlisted: _Loss | None = None
        self._served: set[str] = set()
        self._lost: dict[str, _Loss] = {}
        self._doubted: set[str] = set()
        self._troubled: dict[str, _Loss] = {}
        self.doubt = asyncio.Event()
        """Set while a request was refused in a way that a lost namespace would explain."""

    @property
    def everywhere(self) -> bool:
        """Whether all namespaces are served, as one: none of them can be lost."""
        return not self._named and not self.selector

    @property
    def wanted(self) -> frozenset[str]:
        """The namespaces to serve."""
        return self._named | self._selected

    @property
    def served(self) -> frozenset[str]:
        """The namespaces that are served."""
        return frozenset(self._served)

    @property
    def lost(self) -> frozenset[str]:
        """The namespaces that are lost."""
        return frozenset(self._lost)

    @property
    def left(self) -> frozenset[str]:
        """The namespaces that are no longer to be served, and where there were still jobs."""
        return frozenset(self._lost) - self.wanted

    @property
    def settled(self) -> bool:
        """Whether nothing has to be looked up between two full lists."""
        return not self.selector and not self._lost

    @property
    def unlisted(self) -> bool:
        """Whether it can't be read which namespaces the selector selects."""
        return self._unlisted is not None

    def serves(self, namespace: str) -> bool:
        """Returns whether a namespace is served."""
        return self.everywhere or namespace in self._served

    def unsure(self, namespace: str) -> bool:
        """Returns whether it is unknown if a namespace can be served."""
        return namespace not in self._served or namespace in self._doubted

    def why_lost(self, namespace: str) -> str:
        """Returns why a namespace is lost; empty if it is not."""
        loss = self._lost.get(namespace)
        return loss.problem if loss else ""

    def lost_for(self, namespace: str) -> float:
        """Returns for how many seconds a namespace has been lost; 0 if it is not."""
        loss = self._lost.get(namespace)
        return self._clock() - loss.since if loss else 0.0

    def select(self, names: Collection[str]) -> set[str]:
        """Stores which namespaces the selector selects; returns those that it has just ceased to select."""
        self._selected, self._unlisted = frozenset(names), None
        return {name for name in self._served - self.wanted if self.leave(name)}

    def leave(self, namespace: str) -> bool:
        """Reports that a namespace is no longer to be served; returns whether that is news."""
        return self.lose(namespace, _NOT_SELECTED if self.selector else _NOT_NAMED)

    def keep_selection(self, problem: str) -> None:
        """Reports that it can't be read which namespaces the selector selects."""
        known, now = self._unlisted, self._clock()
        if known is None or now - known.logged_at >= REMINDER_SECONDS:
            log.warning(
                "can't list namespaces, and serve those that were selected last: %s %s", problem, _LIST
            )
            self._unlisted = _Loss(problem, known.since if known else now, now)

    def suspect(self, namespace: str) -> None:
        """Reports a refusal that a lost namespace would explain."""
        if namespace in self._served:
            self._doubted.add(namespace)
            self.doubt.set()

    def lose(self, namespace: str, problem: str) -> bool:
        """Reports that a namespace can't be served; returns whether that is news."""
        self._served.discard(namespace)
        self._doubted.discard(namespace)
        known, now = self._lost.get(namespace), self._clock()
        if known is not None and now - known.logged_at < REMINDER_SECONDS:
            known.problem = problem
            return False
        log.warning(
            "%s namespace %s: %s",
            "lost" if known is None else "still lost:",
            namespace,
            problem,
            extra={"namespace": namespace},
        )
        self._lost[namespace] = _Loss(problem, known.since if known else now, now)
        return known is None

    def trouble(self, namespace: str, problem: str) -> bool:
        """Reports that a namespace can't be listed for a reason other than a refusal; returns whether it is lost by that.

        One that is served stays so: its watches may deliver what the list does not.
        """
        if namespace not in self._served:
            return self.lose(namespace, problem)
        known, now = self._troubled.get(namespace), self._clock()
        if known is None or now - known.logged_at >= REMINDER_SECONDS:
            self._troubled[namespace] = _Loss(problem, known.since if known else now, now)
            log.warning(
                "can't list namespace %s, whose changes may be late: %s",
                namespace,
                problem,
                extra={"namespace": namespace},
            )
        return False

    def find(self, namespace: str) -> bool:
        """Reports that a namespace is served; returns whether that is news."""
        self._doubted.discard(namespace)
        self._troubled.pop(namespace, None)
        if self._lost.pop(namespace, None) is not None:
            log.info("namespace %s is served again", namespace, extra={"namespace": namespace})
        elif namespace not in self._served:
            log.info("namespace %s is served", namespace, extra={"namespace": namespace})
        else:
            return False
        self._served.add(namespace)
        return True

    def drop(self, namespace: str) -> None:
        """Forgets a namespace that is not to be served any more."""
        self._lost.pop(namespace, None)
