"""A refused list of namespaces stops no namespace that is known."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest

from vaultstream_operator.adapters.kube_api import KubeApi, KubeError, KubeJson
from vaultstream_operator.adapters.lists import LIST_PAGE, Lists
from vaultstream_operator.adapters.mirror import JOBS, Mirror
from vaultstream_operator.adapters.namespaces import ServedNamespaces
from vaultstream_operator.adapters.paths import path_of
from vaultstream_operator.handlers import configure

pytestmark = pytest.mark.unit


class Answers:
    """An API server with no objects, whose namespaces have labels."""

    def __init__(self) -> None:
        self.selected = ["team-b"]
        self.refuses = False
        self.jobs: dict[str, list[str]] = {}
        self.lists_all = False
        self.asked: list[str] = []
        self.open, self.most_open = 0, 0

    async def get(self, path: str, **query: str) -> KubeJson:
        self.asked.append(path)
        if path == path_of(JOBS):
            if not self.lists_all:
                raise KubeError(403, "Forbidden", "signingjobs is forbidden at the cluster scope")
            everywhere = [signing_job(space, name) for space, names in self.jobs.items() for name in names]
            return {"items": everywhere, "metadata": {"resourceVersion": "2"}}
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(0)
        self.open -= 1
        if path != "/api/v1/namespaces":
            jobs = self.jobs.get(path.split("/")[-2], []) if path.endswith("/signingjobs") else []
            made = [signing_job(path.split("/")[-2], name) for name in jobs]
            return {"items": made, "metadata": {"resourceVersion": "2"}}
        if self.refuses:
            raise KubeError(403, "Forbidden", "namespaces is forbidden")
        items: list[dict[str, Any]] = [{"metadata": {"name": name}} for name in self.selected]
        return {"items": items, "metadata": {"resourceVersion": "1"}}


def signing_job(namespace: str, name: str) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name, "uid": name, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {}}


def lists_of(answers: Answers, *named: str) -> tuple[Lists, ServedNamespaces]:
    namespaces = ServedNamespaces(named, "signing=true")
    return Lists(cast("KubeApi", answers), Mirror(), namespaces), namespaces


async def test_namespaces_that_were_selected_last_are_served_while_the_list_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers = Answers()
    lists, namespaces = lists_of(answers)
    await lists.read()
    answers.refuses = True
    for _ in range(2):
        await lists.read()
        assert (namespaces.served, namespaces.lost, namespaces.unlisted) == ({"team-b"}, set(), True)
    said = [record.getMessage() for record in caplog.records if "can't list namespaces" in record.message]
    assert len(said) == 1, "and again after minutes"

    answers.refuses, answers.selected = False, ["team-c"]
    await lists.read()
    assert (namespaces.served, namespaces.unlisted) == ({"team-c"}, False)


async def test_named_namespaces_are_served_when_the_first_list_is_refused() -> None:
    answers = Answers()
    answers.refuses = True
    lists, namespaces = lists_of(answers, "team-a")
    await lists.read()
    assert (namespaces.served, namespaces.unlisted) == ({"team-a"}, True)


async def test_an_operator_that_knows_no_namespace_has_not_started() -> None:
    answers = Answers()
    answers.refuses = True
    lists, _ = lists_of(answers)
    with pytest.raises(KubeError, match="forbidden"):
        await lists.read()


@pytest.mark.parametrize("lists_all", [False, True])
async def test_of_the_namespaces_that_had_jobs_those_that_still_have_some_are_lost(lists_all: bool) -> None:
    answers = Answers()
    answers.lists_all = lists_all
    lists, namespaces = lists_of(answers, "team-a")
    await lists.read()
    answers.jobs = {"team-a": ["served"], "team-b": ["selected"], "team-c": ["left"]}
    assert await lists.find_left({"team-a", "team-b", "team-c", "team-d"}) == {("team-c", "left")}
    assert namespaces.lost == {"team-c"}
    assert "labels of the namespace selector" in namespaces.why_lost("team-c")

    assert await lists.find_left({"team-c"}) == set(), "it is known"
    answers.jobs = {}
    await lists.read()
    assert namespaces.lost == set()


async def test_many_namespaces_that_had_jobs_cost_one_list_or_some_at_the_same_time() -> None:
    answers, names = Answers(), {f"team-{number}" for number in range(100)}
    answers.jobs = {"team-7": ["left"], "elsewhere": ["of another operator"]}
    answers.lists_all = True
    lists, namespaces = lists_of(answers)
    assert await lists.find_left(names) == {("team-7", "left")}
    assert (answers.asked, namespaces.lost) == ([path_of(JOBS)], {"team-7"})

    answers.lists_all = False
    lists, namespaces = lists_of(answers)
    assert await lists.find_left(names) == {("team-7", "left")}
    assert 2 <= answers.most_open <= 4


async def test_a_namespace_that_can_not_be_looked_at_fails_the_search_which_is_tried_again() -> None:
    answers = Answers()
    lists, _ = lists_of(answers)

    async def fail(path: str, **query: str) -> KubeJson:
        raise KubeError(500, "InternalError", "etcdserver: request timed out")

    lists._api = cast("KubeApi", SimpleNamespace(get=fail))
    with pytest.raises(KubeError, match="timed out"):
        await lists.find_left({"team-a"})


class Pages:
    """An API server with many SigningJobs, which forgets a list that is read in more than `forgets` pages."""

    def __init__(self, count: int, *, forgets: int = 10**6) -> None:
        self.names = [f"job-{number:04}" for number in range(count)]
        self.forgets, self.largest, self.pages = forgets, 0, 0

    async def get(self, path: str, **query: str) -> KubeJson:
        assert "resourceVersion" not in query, "the API server would ignore the limit"
        if not path.endswith("/signingjobs"):
            return {"items": [], "metadata": {"resourceVersion": "9"}}
        start, size = int(query.get("continue", 0)), int(query["limit"])
        self.pages = self.pages + 1 if start else 1
        if self.pages > self.forgets:
            raise KubeError(410, "Expired", "The provided continue parameter is too old")
        self.largest = max(self.largest, size)
        end = start + size
        following = {"continue": str(end)} if end < len(self.names) else {}
        made = [signing_job("team-a", name) for name in self.names[start:end]]
        return {"items": made, "metadata": {"resourceVersion": "9", **following}}


async def test_lists_are_read_in_pages_so_that_many_large_objects_do_not_fill_the_memory() -> None:
    pages = Pages(101)
    lists, _ = lists_of(cast("Answers", pages), "team-a")
    lists._namespaces = ServedNamespaces(["team-a"])
    assert await lists.read() == {("team-a", name) for name in pages.names}
    assert pages.largest == LIST_PAGE <= 20, "of 1.5 MB each, at most"
    pages.names = pages.names[:50]
    assert len(await lists.read()) == 51, "those that are gone are news"


async def test_a_list_that_changes_faster_than_it_is_read_is_read_in_larger_pages() -> None:
    pages = Pages(101, forgets=2)
    lists, _ = lists_of(cast("Answers", pages), "team-a")
    lists._namespaces = ServedNamespaces(["team-a"])
    assert len(await lists.read()) == 101
    assert pages.largest == 4 * LIST_PAGE
    pages.forgets = 0
    with pytest.raises(KubeError, match="too old"):
        await lists.read()


def test_kopf_holds_one_page_of_a_list_and_no_object_for_long() -> None:
    settings = kopf.OperatorSettings()
    configure(settings)
    assert settings.watching.chunk_size == LIST_PAGE
    assert settings.queueing.idle_timeout < 1.0
