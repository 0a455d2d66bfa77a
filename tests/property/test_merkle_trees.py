"""Merkle trees of any size against the definitions of RFC 6962, written down as they stand there."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaultstream.proof.merkle import (
    Frontier,
    consistency_path,
    inclusion_path,
    leaf_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

pytestmark = pytest.mark.unit

NUMBERED = [leaf_hash(number.to_bytes(4)) for number in range(600)]
"""Trees here are the first so many of these leaves, since a tree's shape depends on its size alone."""
SIZES = st.integers(1, 600) | st.sampled_from([2**n + d for n in range(1, 10) for d in (-1, 0, 1)])


def split(size: int) -> int:
    """Returns k, the largest power of two smaller than n."""
    return 1 << (size - 1).bit_length() - 1


def mth(d: list[bytes]) -> bytes:
    """Returns the Merkle Tree Hash of section 2.1."""
    if len(d) == 1:
        return d[0]
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    """Returns PATH(m, D[n]) of section 2.1.1."""
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m: int, d: list[bytes], whole: bool) -> list[bytes]:
    """Returns SUBPROOF(m, D[n], b) of section 2.1.2."""
    if m == len(d):
        return [] if whole else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], whole), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


@given(SIZES, st.data())
def test_a_leaf_is_found_by_its_path_and_no_other_is(size: int, data: st.DataObject) -> None:
    leaves, index = NUMBERED[:size], data.draw(st.integers(0, size - 1))
    root, found = tree_root(leaves), inclusion_path(leaves, index)
    assert root == mth(leaves)
    assert found == path(index, leaves)
    assert verify_inclusion(leaves[index], index, size, found, root)
    other = data.draw(st.integers(0, 600))
    assert verify_inclusion(leaves[index], other, size, found, root) == (other == index)
    assert verify_inclusion(NUMBERED[other % 600], index, size, found, root) == (other % 600 == index)


@given(SIZES, st.data())
def test_a_tree_is_shown_to_begin_with_an_older_one(size: int, data: st.DataObject) -> None:
    leaves, old = NUMBERED[:size], data.draw(st.integers(1, size))
    found, old_root, root = consistency_path(leaves, old), tree_root(leaves[:old]), tree_root(leaves)
    assert found == subproof(old, leaves, True)
    assert verify_consistency(old, size, found, old_root, root)
    other = data.draw(st.integers(1, 600))
    assert verify_consistency(old, size, found, tree_root(NUMBERED[:other]), root) == (other == old)
    assert verify_consistency(old, size, found, old_root, tree_root(NUMBERED[:other])) == (other == size)


@given(SIZES, st.data())
def test_a_frontier_and_the_leaves_after_it_have_the_path_of_all_leaves(
    size: int, data: st.DataObject
) -> None:
    leaves = NUMBERED[:size]
    old = data.draw(st.integers(0, size))
    assert Frontier().extend(leaves[:old]).path_to(leaves[old:]) == consistency_path(leaves, old)


@given(SIZES, st.data())
def test_a_tree_with_an_altered_older_leaf_is_not_consistent(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    leaves = [*NUMBERED[:size]]
    before = tree_root(leaves[:old])
    leaves[data.draw(st.integers(0, old - 1))] = leaf_hash(b"altered")
    assert not verify_consistency(old, size, consistency_path(leaves, old), before, tree_root(leaves))


@given(SIZES, st.data())
def test_an_altered_longer_or_shorter_path_is_refused(size: int, data: st.DataObject) -> None:
    leaves, number = NUMBERED[:size], data.draw(st.integers(0, size - 1))
    root, old = tree_root(leaves), number + 1
    paths = (inclusion_path(leaves, number), consistency_path(leaves, old))
    for which, right in enumerate(paths):
        wrong = [[*right, NUMBERED[0]], [NUMBERED[0], *right], right[:-1], right[1:], right[::-1]]
        if right:
            place = data.draw(st.integers(0, len(right) - 1))
            wrong += [[*right[:place], changed, *right[place + 1 :]] for changed in spoiled(right[place])]
        for proof in wrong:
            verdict = (
                verify_consistency(old, size, proof, tree_root(leaves[:old]), root)
                if which
                else verify_inclusion(leaves[number], number, size, proof, root)
            )
            assert verdict == (proof == right)


def spoiled(right: bytes) -> list[bytes]:
    return [bytes([right[0] ^ 1]) + right[1:], right[:-1], right + b"\0", b""]


@given(st.integers(0, 600), st.lists(st.integers(1, 100), max_size=6))
def test_a_frontier_grows_by_any_steps_and_is_stored_as_its_values(start: int, steps: list[int]) -> None:
    tree, size = Frontier().extend(NUMBERED[:start]), start
    for step in steps:
        stored = Frontier(tree.size, tree.subtrees)
        assert stored == tree
        tree = stored.extend(NUMBERED[size : size + step])
        size = min(size + step, 600)
        assert tree.size == size
        assert tree.root() == tree_root(NUMBERED[:size])
        assert len(tree.subtrees) <= 10
