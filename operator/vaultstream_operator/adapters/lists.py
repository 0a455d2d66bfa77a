"""Lists of all watched objects. They fill the mirror, and find out which namespaces can be served."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Collection
from typing import Final

from vaultstream.errors import VaultStreamError
from vaultstream_operator.adapters.kube_api import LIST_OF_METADATA, KubeApi, KubeError, UnreachableError
from vaultstream_operator.adapters.mirror import JOBS, JobKey, Mirror, MirrorEntry, read_entry
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.adapters.paths import MANAGED_BY_US, WATCHED, path_of

log = logging.getLogger(__name__)

_FORBIDDEN: Final = 403
_NOT_FOUND: Final = 404
_LOST: Final = (_FORBIDDEN, _NOT_FOUND)
_GONE: Final = 410
LIST_PAGE: Final = 20
"""Objects of one page of a list. One may have 1.5 MB, which Kubernetes limits, and an operator has to have room for them."""
LIST_SECONDS: Final = 20.0
"""Timeout of all lists of one namespace: whoever fills it does not keep the operator from the others."""
_LARGEST_PAGE: Final = 320
_AT_ONCE: Final = 4
"""Lists of single namespaces that are asked for at the same time."""
_ADVICE: Final = "Give the operator its Role and RoleBinding there again."


class Lists:
    """Reads lists into the mirror.

    Args:
        api: sends the requests.
        mirror: what the lists fill.
        namespaces: which namespaces to list; told which of them can be served.
    """

    def __init__(self, api: KubeApi, mirror: Mirror, namespaces: ServedNamespaces) -> None:
        self._api = api
        self._mirror = mirror
        self._namespaces = namespaces

    async def read(self, *, only_unsure: bool = False) -> set[JobKey]:
        """Lists all watched objects; returns the SigningJobs to reconcile.

        A namespace that can't be listed is lost, and the others are listed as ever.

        Args:
            only_unsure: leave out namespaces of which it is known that they can be served.

        Raises:
            KubeError, UnreachableError: no list can be read.
        """
        news: set[JobKey] = set()
        if self._namespaces.everywhere:
            await self._list_all("", news)
            return news
        news |= await self._select()
        refusals = await self._try_wanted(news, only_unsure=only_unsure)
        for namespace, refusal in refusals.items():
            if self._namespaces.lose(namespace, f"{refusal.message.rstrip('.')}. {_ADVICE}"):
                news |= self._forget_children(namespace)
            news |= await self._try_jobs(namespace)
        for namespace in sorted(self._namespaces.left):
            news |= await self._try_jobs(namespace)
            if not self._mirror.jobs_of(namespace):
                self._namespaces.drop(namespace)
        return news

    async def find_left(self, names: Collection[str]) -> set[JobKey]:
        """Finds namespaces that are no longer to be served and have SigningJobs; returns these. The namespaces are lost.

        Args:
            names: namespaces in which this operator, or one before it, has worked on jobs.

        Raises:
            KubeError, UnreachableError: no list can be read.
        """
        news: set[JobKey] = set()
        unknown = sorted(set(names) - self._namespaces.wanted - self._namespaces.lost)
        if not unknown:
            return news
        if not await self._list_jobs_at_once(unknown):
            for start in range(0, len(unknown), _AT_ONCE):
                some = unknown[start : start + _AT_ONCE]
                for listed in await asyncio.gather(*map(self._list_jobs, some), return_exceptions=True):
                    if isinstance(listed, BaseException):
                        raise listed
        for namespace in unknown:
            if jobs := self._mirror.jobs_of(namespace):
                self._namespaces.leave(namespace)
                news |= jobs
        return news

    async def _list_jobs_at_once(self, namespaces: Collection[str]) -> bool:
        """Lists the SigningJobs of many namespaces by one request; returns False if the operator may not list those of all."""
        try:
            entries, version = await self._entries(JOBS, "")
        except KubeError as error:
            if error.status not in _LOST:
                raise
            return False
        jobs = [entry for entry in entries if entry.namespace in namespaces]
        self._mirror.listed(JOBS, jobs, namespaces, version)
        return True

    async def _select(self) -> set[JobKey]:
        """Looks up which namespaces are selected; returns the SigningJobs of those that no longer are.

        While the API server refuses to say so, those that were selected last are served on, like those that have a name.
        """
        if not self._namespaces.selector:
            return set()
        query = {"labelSelector": self._namespaces.selector, "resourceVersion": "0"}
        try:
            found = await self._api.get("/api/v1/namespaces", **query)
        except KubeError as error:
            if error.status != _FORBIDDEN or not (self._namespaces.wanted or self._namespaces.lost):
                raise
            self._namespaces.keep_selection(f"{error.message.rstrip('.')}.")
            return set()
        left = self._namespaces.select([item["metadata"]["name"] for item in found["items"]])
        return {key for namespace in left for key in self._forget_children(namespace)}

    async def _try_wanted(self, news: set[JobKey], *, only_unsure: bool) -> dict[str, KubeError]:
        """Lists each namespace to serve, and adds the SigningJobs to reconcile to `news`; returns which namespaces refuse.

        Whatever else keeps one from being listed is its own trouble as well, unless none can be listed.
        """
        refusals: dict[str, KubeError] = {}
        troubles: dict[str, Exception] = {}
        listed = 0
        wanted = [
            each
            for each in sorted(self._namespaces.wanted)
            if not only_unsure or self._namespaces.unsure(each)
        ]
        for first in range(0, len(wanted), _AT_ONCE):
            some = wanted[first : first + _AT_ONCE]
            errors = await asyncio.gather(*(self._listing_error(each, news) for each in some))
            for namespace, error in zip(some, errors, strict=True):
                if isinstance(error, KubeError) and error.status in _LOST:
                    refusals[namespace] = error
                elif error is not None:
                    if isinstance(error, UnreachableError) and troubles and not listed:
                        raise error  # for the second time: not for each namespace
                    troubles[namespace] = error
                else:
                    listed += 1
                    if self._namespaces.find(namespace):
                        news |= self._mirror.jobs_of(namespace)
        if refusals.keys() == self._namespaces.wanted and _of_the_definition(refusals):
            raise next(iter(refusals.values()))
        trouble = next(iter(troubles.values()), None)
        if (
            trouble
            and not listed
            and not refusals
            and (not only_unsure or isinstance(trouble, UnreachableError))
        ):
            raise trouble
        news |= self._note(troubles)
        return refusals

    def _note(self, troubles: dict[str, Exception]) -> set[JobKey]:
        """Notes why namespaces can't be listed; returns the SigningJobs of those that are lost by that."""
        news: set[JobKey] = set()
        for namespace, trouble in troubles.items():
            if self._namespaces.trouble(namespace, _problem(trouble)):
                news |= self._forget_children(namespace)
        return news

    async def _listing_error(self, namespace: str, news: set[JobKey]) -> Exception | None:
        """Lists a namespace, and adds the SigningJobs to reconcile to `news`; returns why that failed, or None."""
        try:
            async with asyncio.timeout(LIST_SECONDS):
                await self._list_all(namespace, news)
        except Exception as error:  # noqa: BLE001 - told apart by the caller
            return error
        return None

    async def _list_all(self, namespace: str, news: set[JobKey]) -> None:
        """Adds to `news` even if a later list is refused: the mirror has taken what an earlier one told."""
        for kind in WATCHED:
            found = await self._list(kind, namespace)
            news |= found  # once it is there: others are read at the same time

    async def _list(self, kind: str, namespace: str) -> set[JobKey]:
        entries, version = await self._entries(kind, namespace)
        return self._mirror.listed(kind, entries, [namespace] if namespace else [], version)

    async def _entries(self, kind: str, namespace: str) -> tuple[list[MirrorEntry], int]:
        """Reads a list in pages, and keeps of each what decisions depend on: objects of others may be large and many.

        Returns:
            the entries, and the version of the list: that of its first page. If the API server no longer has that version, the list is
            read from its beginning, with fewer pages each time.
        """
        size = LIST_PAGE
        while True:
            query = {"limit": str(size)}
            if kind != JOBS:
                query["labelSelector"] = MANAGED_BY_US
            entries: list[MirrorEntry] = []
            version: int | None = None
            try:
                while True:
                    brief = LIST_OF_METADATA if kind == JOBS else ""
                    found = await self._api.get(path_of(kind, namespace), brief=brief, **query)
                    if version is None:
                        version = int(found["metadata"]["resourceVersion"])
                    read = (read_entry(kind, body) for body in found["items"] or ())  # null: there are none
                    entries += (entry for entry in read if entry is not None)
                    following = found["metadata"].get("continue")
                    del found
                    if not following:
                        return entries, version
                    query["continue"] = following
            except KubeError as error:
                if error.status != _GONE or "continue" not in query or size >= _LARGEST_PAGE:
                    raise
                size *= 4

    async def _try_jobs(self, namespace: str) -> set[JobKey]:
        """Lists the SigningJobs of a lost namespace; if that fails, what is known of them stays."""
        try:
            async with asyncio.timeout(LIST_SECONDS):
                return await self._list_jobs(namespace)
        except Exception as error:  # noqa: BLE001 - only of this namespace
            log.debug("can't list the SigningJobs of namespace %s: %s", namespace, _problem(error))
            return set()

    async def _list_jobs(self, namespace: str) -> set[JobKey]:
        """Lists the SigningJobs of a lost namespace, which the operator may still read. Those that it may not are forgotten."""
        try:
            return await self._list(JOBS, namespace)
        except KubeError as error:
            if error.status not in _LOST:
                raise
            return self._forget(JOBS, namespace)

    def _forget_children(self, namespace: str) -> set[JobKey]:
        """Forgets all that can't be seen any more in a namespace; returns its SigningJobs."""
        for kind in WATCHED:
            if kind != JOBS:
                self._forget(kind, namespace)
        return self._mirror.jobs_of(namespace)

    def _forget(self, kind: str, namespace: str) -> set[JobKey]:
        return self._mirror.listed(kind, (), [namespace], sys.maxsize)


def _problem(error: Exception) -> str:
    if isinstance(error, VaultStreamError):
        return error.message
    if isinstance(error, TimeoutError):
        return f"Its lists take more than {LIST_SECONDS:g} s."
    return f"Its lists can't be read: {type(error).__name__}."


def _of_the_definition(refusals: dict[str, KubeError]) -> bool:
    """Returns whether refusals say that there is no SigningJob at all, instead of something about namespaces."""
    return bool(refusals) and all(error.status == _NOT_FOUND for error in refusals.values())
