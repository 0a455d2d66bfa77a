"""What the operator finds of a SigningJob in Postgres."""

from __future__ import annotations

from support.planning import spec_of
from vaultstream_operator.adapters.postgres import PostgresStore
from vaultstream_operator.core.plan import StoreAction
from vaultstream_operator.core.view import ObjectView, StoredJob, Trouble

SPEC = spec_of(keys={"count": 2}, batchSize=2)


async def made(store: PostgresStore, view: ObjectView) -> StoredJob:
    assert await store.find(view) is None
    assert await store.act(StoreAction.CREATE, view) is None
    return await found(store, view)


async def found(store: PostgresStore, view: ObjectView) -> StoredJob:
    stored = await store.find(view)
    assert isinstance(stored, StoredJob), stored
    return stored


async def trouble(store: PostgresStore, view: ObjectView) -> Trouble:
    stored = await store.find(view)
    assert isinstance(stored, Trouble), stored
    return stored
