"""Whether a log in Postgres continues what the seal key has signed, before it signs more.

The newest checkpoint must be signed by a seal key, and of the log as it is: so all that is in the log was entered by a sealer.
The log must begin with what an older checkpoint says, of which a copy lies elsewhere: so none of it was taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vaultstream.errors import ProofError
from vaultstream.proof.checkpoint import Checkpoint, open_checkpoint
from vaultstream.proof.merkle import Frontier
from vaultstream.store.logs import leaf_hashes, newest_checkpoint

if TYPE_CHECKING:
    from vaultstream.crypto.seal_keys import SealKeys
    from vaultstream.store.database import Connection
    from vaultstream.store.logs import Log


class Continuity:
    """What is known of logs from before, by their origin."""

    def __init__(self, keys: SealKeys) -> None:
        self.keys = keys
        """They may be replaced, after a rotation."""
        self._trees: dict[str, Frontier] = {}

    async def require(self, connection: Connection, log: Log, copy: bytes | None) -> None:
        """Checks a log, which is locked.

        Args:
            connection: of the transaction that has locked it.
            log: as Postgres has it.
            copy: the signed checkpoint that lies elsewhere; None: there is none.

        Raises:
            ProofError: somebody else than a sealer has changed the log, or it was rolled back.
        """
        await self._require_signed(connection, log)
        checkpoint = self._opened(copy, log.origin) if copy is not None else None
        former = self._trees.get(log.origin, Frontier())
        known = checkpoint is not None and checkpoint.size == log.size
        for before in (checkpoint, Checkpoint(log.origin, former.size, former.root())):
            if before is not None and before.size >= log.size:
                _require_same(log, before)
        if not known and former.size < log.size:
            await self._require_grown(connection, log, former, checkpoint)
        self._trees[log.origin] = log.tree

    def grown(self, log: Log) -> None:
        """Notes that a log was changed by this process, and committed."""
        self._trees[log.origin] = log.tree

    async def _require_signed(self, connection: Connection, log: Log) -> None:
        newest = await newest_checkpoint(connection, log)
        if newest is None:
            if log.size:
                raise _foreign(log)
            return
        checkpoint = self._opened(newest.note, log.origin)
        if (checkpoint.size, checkpoint.root) != (log.size, log.tree.root()):
            raise _foreign(log)

    def _opened(self, note: bytes, origin: str) -> Checkpoint:
        return open_checkpoint(note, self.keys.known, origin=origin).checkpoint

    async def _require_grown(
        self, connection: Connection, log: Log, former: Frontier, checkpoint: Checkpoint | None
    ) -> None:
        """Checks that the log has grown from what was known before, and from what the copy says."""
        leaves = await leaf_hashes(connection, log, first=former.size)
        if checkpoint is not None and former.size <= checkpoint.size:
            part = former.extend(leaves[: checkpoint.size - former.size])
            if part.root() != checkpoint.root:
                raise _rolled_back(log, checkpoint)
        if former.extend(leaves).root() != log.tree.root():
            raise _foreign(log)


def _require_same(log: Log, before: Checkpoint) -> None:
    if (before.size, before.root) != (log.size, log.tree.root()):
        raise _rolled_back(log, before)


def _rolled_back(log: Log, before: Checkpoint) -> ProofError:
    return ProofError(
        f"The log {log.origin!r} was rolled back: it had {before.size} entries, and now has "
        f"{log.size} that do not continue them.",
        hint="If the database was restored from a backup, move the folder of seals (VAULTSTREAM_SEALS_DIR; `vaultstream "
        "doctor` has its path) aside, and keep it: seals continue from the restored log, and whoever kept a newer checkpoint can see "
        "that it was rolled back. If this is another database, give it a seal key of its own (VAULTSTREAM_SEAL_KEY_FILE).",
    )


def _foreign(log: Log) -> ProofError:
    return ProofError(
        f"The log {log.origin!r} in Postgres is not what the seal key signed last: {log.size} entries without a checkpoint of theirs.",
        hint="Somebody has changed it by hand. Restore vaultstream.logs, log_entries and checkpoints from a backup.",
    )
