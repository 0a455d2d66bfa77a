"""How a log has grown, from what this process has read of it: only leaves that it has not read yet are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.proof.merkle import Frontier
from vaultstream.store.logs import leaf_hashes

if TYPE_CHECKING:
    from vaultstream.proof.checkpoint import Checkpoint
    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log

MOST_KNOWN = 32
"""Trees that are remembered: those that witnesses have seen, and those in between."""


class Growth:
    """The trees of one log at sizes that were asked for."""

    def __init__(self) -> None:
        self._known: dict[int, Frontier] = {}

    async def path(self, connection: Connection, log: Log, old: int, new: Checkpoint) -> list[bytes]:
        """Returns the consistency path from the first `old` leaves of a log to a checkpoint.

        If what was read before does not lead to the checkpoint, all is read again.

        Raises:
            ProofError: a leaf is missing.
        """
        path, grown = await self._path(connection, log, old, new.size)
        if grown.root() != new.root:
            self._known.clear()
            path, _ = await self._path(connection, log, old, new.size)
        return path

    async def _path(
        self, connection: Connection, log: Log, old: int, new: int
    ) -> tuple[list[bytes], Frontier]:
        start = await self._tree(connection, log, old)
        leaves = await leaf_hashes(connection, log, first=old, last=new)
        grown = start.extend(leaves)
        self._keep(grown)
        return start.path_to(leaves), grown

    async def _tree(self, connection: Connection, log: Log, size: int) -> Frontier:
        if size in self._known:
            return self._known[size]
        nearest = max((each for each in self._known if each < size), default=0)
        begun = self._known.get(nearest, Frontier())
        tree = begun.extend(await leaf_hashes(connection, log, first=nearest, last=size))
        self._keep(tree)
        return tree

    def _keep(self, tree: Frontier) -> None:
        self._known[tree.size] = tree
        while len(self._known) > MOST_KNOWN:
            del self._known[min(self._known)]
