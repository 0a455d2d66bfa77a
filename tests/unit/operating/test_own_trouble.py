"""What goes wrong in one namespace, or with one object, is the trouble of that namespace or object alone."""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING, Any, cast

import asyncpg
import pytest
from kopf._cogs.clients.watching import Bookmark, WatchingError

from vaultstream_operator import handlers
from vaultstream_operator.adapters.kube_api import KubeApi, KubeError, UnreachableError
from vaultstream_operator.adapters.lists import Lists
from vaultstream_operator.adapters.mirror import DEPLOYMENTS, JOBS, PODS, Mirror, read_entry
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.adapters.store_errors import classify
from vaultstream_operator.adapters.views import MOST_METADATA_BYTES, MOST_SPEC_BYTES, view_of
from vaultstream_operator.api.reasons import JobReason
from vaultstream_operator.api.status import JobStatus
from vaultstream_operator.core.children import JOB_LABEL, ROLE_LABEL, SIGNING, UID_LABEL, Owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.unit


def signing_job(namespace: str, name: str = "job", **metadata: Any) -> dict[str, Any]:
    own = {"namespace": namespace, "name": name, "uid": f"{namespace}-{name}", "resourceVersion": "1"}
    made = {"generation": 1, "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"metadata": own | made | metadata, "spec": {"records": {"table": "records"}}}


class Kind:
    plural = JOBS


ADDED = {"type": "ADDED", "object": signing_job("a")}
BROKEN = [{}, {"metadata": None}, {"metadata": {"name": "n"}}, [], None]


@pytest.mark.parametrize(
    "error",
    [WatchingError("Error in the watch-stream"), ValueError("no JSON"), KeyError("type"), RecursionError()],
)
async def test_a_watch_that_fails_begins_again_and_is_logged_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handlers, "backoff", lambda *_: 0.0)
    begun = 0

    async def fail(**_: Any) -> AsyncIterator[Any]:
        nonlocal begun
        begun += 1
        yield ADDED
        if begun < 4:
            raise error

    watch = handlers._of_one_watch(fail)(resource=Kind(), namespace="a")
    assert [event async for event in watch] == [ADDED] * 4
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "signingjobs in a failed" in told[0]


async def test_what_a_watch_delivers_after_its_list_is_a_sign_of_life_and_so_is_a_bookmark() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}

    async def watched(namespace: str, *events: Any) -> float:
        async def deliver(**_: Any) -> AsyncIterator[Any]:
            for event in events:
                yield event

        async for _ in handlers._of_one_watch(deliver)(resource=Kind(), namespace=namespace):
            pass
        return handlers.silent_for(JOBS, namespace)

    assert await watched("listed", ADDED | {"type": None}, Bookmark.LISTED) == math.inf
    assert await watched("changed", Bookmark.LISTED, ADDED) < 30
    assert await watched("quiet", Bookmark.LISTED, bookmark) < 30


async def test_a_watch_that_always_begins_with_a_list_waits_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[int] = []
    monkeypatch.setattr(handlers, "backoff", lambda failures, _: waits.append(failures) or 0.0)

    async def expire(**_: Any) -> AsyncIterator[Any]:
        for _ in range(6):
            yield Bookmark.LISTED

    assert len([event async for event in handlers._of_one_watch(expire)(resource=Kind(), namespace="a")]) == 6
    assert waits == [1, 2, 3]


async def test_an_event_without_an_object_is_left_out() -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "1"}}}

    async def deliver(**_: Any) -> AsyncIterator[Any]:
        for event in (*({"type": "ADDED", "object": each} for each in BROKEN), bookmark, ADDED):
            yield event

    watch = handlers._of_one_watch(deliver)(resource=Kind(), namespace="a")
    assert [event async for event in watch] == [bookmark, ADDED]


class Troubled:
    """An API server that answers for every namespace but one."""

    def __init__(self, answer: Callable[[], dict[str, Any]]) -> None:
        self.answer = answer

    async def get(self, path: str, **_: str) -> dict[str, Any]:
        namespace = path.split("/")[-2]
        if namespace == "b":
            return self.answer()
        jobs = [signing_job(namespace)] if path.endswith(JOBS) else None
        return {"items": jobs, "metadata": {"resourceVersion": "2"}}


def raising(error: Exception) -> Callable[[], dict[str, Any]]:
    def answer() -> dict[str, Any]:
        raise error

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        raising(KubeError(500, "InternalError", "conversion webhook failed")),
        raising(KubeError(410, "Expired", "too old")),
        raising(UnreachableError("The API server is unreachable.")),
        lambda: {"message": "no JSON"},
        lambda: {"items": 3, "metadata": {"resourceVersion": "2"}},
    ],
)
async def test_a_namespace_that_can_not_be_listed_is_lost_alone(
    answer: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    namespaces = ServedNamespaces(["a", "b", "c"])
    server = Troubled(lambda: {"items": [], "metadata": {"resourceVersion": "2"}})
    lists = Lists(cast("KubeApi", server), Mirror(), namespaces)
    server.answer = answer
    for _ in range(2):
        await lists.read()
        assert (namespaces.served, namespaces.lost) == ({"a", "c"}, {"b"})
    server.answer = lambda: {"items": [], "metadata": {"resourceVersion": "2"}}
    await lists.read()
    assert namespaces.served == {"a", "b", "c"}
    server.answer = answer
    caplog.clear()
    for _ in range(2):
        await lists.read()
        assert namespaces.served == {"a", "b", "c"}, "its watches may still deliver"
    assert len([record for record in caplog.records if "can't list namespace b" in record.message]) == 1


async def test_an_api_server_that_lists_no_namespace_is_unreachable() -> None:
    lists = Lists(
        cast("KubeApi", Troubled(raising(UnreachableError("no")))), Mirror(), ServedNamespaces(["b"])
    )
    with pytest.raises(UnreachableError):
        await lists.read()


async def test_a_list_without_an_end_does_not_keep_the_operator_from_other_namespaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vaultstream_operator.adapters.lists.LIST_SECONDS", 0.05)

    class Endless(Troubled):
        async def get(self, path: str, **query: str) -> dict[str, Any]:
            if path.split("/")[-2] == "b":
                await asyncio.Event().wait()
            return await super().get(path, **query)

    namespaces = ServedNamespaces(["a", "b", "c"])
    await Lists(cast("KubeApi", Endless(raising(KeyError()))), Mirror(), namespaces).read()
    assert namespaces.served == {"a", "c"}


def pod(namespace: str, name: str, uid: str) -> dict[str, Any]:
    labels = {JOB_LABEL: "job", UID_LABEL: uid, ROLE_LABEL: SIGNING}
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1", "labels": labels}
    return {"metadata": metadata, "spec": {}, "status": {}}


def test_pods_with_the_uid_of_another_namespaces_job_neither_wake_nor_count_for_it() -> None:
    mirror = Mirror()
    mirror.saw(JOBS, "ADDED", signing_job("a"))
    references = [{"kind": "SigningJob", "name": "job", "uid": "a-job"}]
    deployment = pod("a", "job-signing", "a-job")
    deployment["metadata"] |= {"ownerReferences": references}
    mirror.saw(DEPLOYMENTS, "ADDED", deployment)
    assert mirror.saw(PODS, "ADDED", pod("b", "stranger", "a-job")) == ("b", "job")
    signing = mirror.children(Owner("a", "job", "a-job")).signing
    assert signing is not None
    assert signing.pods == 0
    assert mirror.saw(PODS, "ADDED", pod("a", "own", "a-job")) == ("a", "job")


def test_an_object_that_can_not_be_read_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    broken = signing_job("a", "unreadable-once")
    broken["metadata"]["resourceVersion"] = "x"
    for _ in range(3):
        assert read_entry(JOBS, broken) is None
    assert len([record for record in caplog.records if "can't read an object" in record.message]) == 1


@pytest.mark.parametrize(
    ("job", "part"),
    [
        (signing_job("a", annotations={"x": "y" * MOST_METADATA_BYTES}), "metadata"),
        (signing_job("a") | {"spec": {"workers": {"podAnnotations": {"x": "y" * MOST_SPEC_BYTES}}}}, "spec"),
        (signing_job("a") | {"spec": {"workers": {"affinity": {str(n): {} for n in range(10_000)}}}}, "spec"),
    ],
)
def test_a_job_that_is_too_large_is_left_alone_and_says_so(job: dict[str, Any], part: str) -> None:
    view = view_of(job)
    assert (view.too_large, view.spec) == (True, None)
    assert f"its {part} has" in view.problem
    assert len(view.problem) < 200


def test_fields_of_the_api_server_make_no_job_too_large() -> None:
    job = signing_job("a", managedFields=[{"fieldsV1": {"x": "y" * MOST_METADATA_BYTES}}])
    assert not view_of(job).too_large
    assert len(json.dumps(job)) > MOST_METADATA_BYTES


def test_a_name_that_postgres_can_not_read_is_no_fault_of_the_operators_login() -> None:
    error = asyncpg.CharacterNotInRepertoireError('invalid byte sequence for encoding "UTF8": 0x00')
    assert classify(error)[0] is JobReason.TABLE_UNUSABLE


def test_times_that_somebody_wrote_into_a_status_keep_no_job_from_being_reconciled() -> None:
    job = signing_job("a") | {"status": {"completionTime": "9999-12-31T23:59:59-23:59"}}
    assert view_of(job).status.dump() == JobStatus().dump()
