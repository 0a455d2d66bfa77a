"""Trees and proofs against the vectors of Certificate Transparency, and against the cases of another implementation."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from vaultstream.proof.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

pytestmark = pytest.mark.unit

LEAVES = [
    leaf_hash(bytes.fromhex(data))
    for data in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
"""The leaves, and below the hashes, of the tests of google/certificate-transparency."""
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAF_0 = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
LEAF_1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
LEAF_4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
LEAVES_0_TO_1 = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
LEAVES_2_TO_3 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
LEAVES_4_TO_5 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
LEAVES_6_TO_7 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
LEAVES_0_TO_3 = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"
LEAVES_4_TO_7 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
INCLUSION: dict[tuple[int, int], list[str]] = {
    (0, 1): [],
    (0, 2): [LEAF_1],
    (1, 2): [LEAF_0],
    (2, 3): [LEAVES_0_TO_1],
    (1, 5): [LEAF_0, LEAVES_2_TO_3, LEAF_4],
    (0, 8): [LEAF_1, LEAVES_2_TO_3, LEAVES_4_TO_7],
    (5, 8): [LEAF_4, LEAVES_6_TO_7, LEAVES_0_TO_3],
}
"""The path of each leaf in a tree of the first so many leaves."""
CONSISTENCY: dict[tuple[int, int], list[str]] = {
    (1, 1): [],
    (1, 8): [LEAF_1, LEAVES_2_TO_3, LEAVES_4_TO_7],
    (2, 5): [LEAVES_2_TO_3, LEAF_4],
    (6, 8): [LEAVES_4_TO_5, LEAVES_6_TO_7, LEAVES_0_TO_3],
}
SUBTREES: list[list[str]] = [
    [],
    [LEAF_0],
    [LEAVES_0_TO_1],
    [LEAVES_0_TO_1, LEAVES[2].hex()],
    [LEAVES_0_TO_3],
    [LEAVES_0_TO_3, LEAF_4],
    [LEAVES_0_TO_3, LEAVES_4_TO_5],
    [LEAVES_0_TO_3, LEAVES_4_TO_5, LEAVES[6].hex()],
    [ROOTS[8]],
]
PROBES = Path(__file__).with_name("probes")
"""The cases of transparency-dev/merkle (Apache License 2.0, testdata/), one per line: right proofs, and wrong ones of each kind.

One is left out: there a tree is consistent with itself although its root is no hash.
"""


def probes(kind: str) -> list[Any]:
    cases = [json.loads(line) for line in (PROBES / f"{kind}.jsonl").read_text().splitlines()]
    return [pytest.param(case, id=f"{number}: {case['desc']}") for number, case in enumerate(cases)]


def values(case: dict[str, Any], *names: str) -> list[bytes]:
    return [b64decode(case[name] or "") for name in names]


def hashes(case: dict[str, Any]) -> list[bytes]:
    return [b64decode(one) for one in case["proof"] or []]


@pytest.mark.parametrize("size", range(9))
def test_the_root_is_that_of_certificate_transparency(size: int) -> None:
    assert tree_root(LEAVES[:size]).hex() == ROOTS[size]


def test_a_leaf_and_a_node_with_the_same_bytes_differ() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])
    assert node_hash(LEAVES[0], LEAVES[1]).hex() == LEAVES_0_TO_1


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_a_path_is_that_of_certificate_transparency(index: int, size: int) -> None:
    assert [one.hex() for one in inclusion_path(LEAVES[:size], index)] == INCLUSION[index, size]


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_a_consistency_path_is_that_of_certificate_transparency(old: int, new: int) -> None:
    assert [one.hex() for one in consistency_path(LEAVES[:new], old)] == CONSISTENCY[old, new]


def test_the_paths_of_the_rfcs_example_have_its_nodes() -> None:
    """The tree of 7 leaves of RFC 6962, section 2.1.3, with the names of its nodes."""
    a, b, c, d, e, f, j = LEAVES[:7]
    g, h, i = node_hash(a, b), node_hash(c, d), node_hash(e, f)
    k, m = node_hash(g, h), node_hash(i, j)
    tree = LEAVES[:7]
    assert inclusion_path(tree, 0) == [b, h, m]
    assert inclusion_path(tree, 3) == [c, g, m]
    assert inclusion_path(tree, 4) == [f, j, k]
    assert inclusion_path(tree, 6) == [i, k]
    assert consistency_path(tree, 3) == [c, d, g, m]
    assert consistency_path(tree, 4) == [m]
    assert consistency_path(tree, 6) == [i, j, k]
    assert tree_root(tree) == node_hash(k, m)


@pytest.mark.parametrize("case", probes("inclusion"))
def test_an_inclusion_proof_is_judged_as_elsewhere(case: dict[str, Any]) -> None:
    leaf, root = values(case, "leafHash", "root")
    verdict = verify_inclusion(leaf, case["leafIdx"], case["treeSize"], hashes(case), root)
    assert verdict is not case["wantErr"]


@pytest.mark.parametrize("case", probes("consistency"))
def test_a_consistency_proof_is_judged_as_elsewhere(case: dict[str, Any]) -> None:
    old, new = values(case, "root1", "root2")
    verdict = verify_consistency(case["size1"], case["size2"], hashes(case), old, new)
    assert verdict is not case["wantErr"]


@pytest.mark.parametrize("index", [-1, 8, 9])
def test_there_is_no_path_for_a_leaf_outside_the_tree(index: int) -> None:
    with pytest.raises(IndexError, match="8 leaves"):
        inclusion_path(LEAVES, index)
    assert not verify_inclusion(LEAVES[0], index, 8, inclusion_path(LEAVES, 0), tree_root(LEAVES))


@pytest.mark.parametrize("old", [-1, 9])
def test_there_is_no_consistency_with_a_larger_tree(old: int) -> None:
    with pytest.raises(IndexError, match="8 leaves"):
        consistency_path(LEAVES, old)
    assert not verify_consistency(old, 8, [], tree_root(LEAVES), tree_root(LEAVES))


def test_every_tree_begins_with_the_empty_one_alone() -> None:
    root = tree_root(LEAVES)
    assert consistency_path(LEAVES, 0) == []
    assert verify_consistency(0, 8, [], EMPTY_ROOT, root)
    assert verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)
    assert not verify_consistency(0, 8, [], LEAVES[0], root)
    assert not verify_consistency(0, 8, [LEAVES[0]], EMPTY_ROOT, root)


@pytest.mark.parametrize("size", range(9))
def test_a_frontier_has_the_subtrees_and_the_root_of_certificate_transparency(size: int) -> None:
    tree = Frontier().append(*LEAVES[:size])
    assert [one.hex() for one in tree.subtrees] == SUBTREES[size]
    assert (tree.size, tree.root().hex()) == (size, ROOTS[size])


@pytest.mark.parametrize(
    ("size", "subtrees"),
    [(-1, ()), (0, (LEAVES[0],)), (1, ()), (2, (LEAVES[0], LEAVES[1])), (3, (LEAVES[0],)), (1, (b"short",))],
)
def test_a_frontier_with_too_few_or_too_many_subtrees_is_refused(
    size: int, subtrees: tuple[bytes, ...]
) -> None:
    with pytest.raises(ValueError, match=f"A tree of {size} leaves"):
        Frontier(size, subtrees)
