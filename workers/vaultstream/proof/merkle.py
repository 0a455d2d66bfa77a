"""Merkle trees of RFC 6962 (section 2.1) and RFC 9162 (section 2.1), with SHA-256.

The RFCs define the tree by splitting its leaves at the largest power of two. Here it is built from the leaves up: the
nodes of a level are paired from the left, and a last one without a partner moves up as it is. The tree is the same.

Functions take the hashes of leaves (`leaf_hash`), never their data, so that an inner node can't pass for a leaf. What
comes from others is only given to `verify_inclusion`, `verify_consistency` and `Frontier`.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HASH_SIZE = 32
EMPTY_ROOT = sha256().digest()
"""The root of the tree without leaves."""


def leaf_hash(data: bytes) -> bytes:
    """Returns the hash of the leaf with these data."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Returns the hash of the inner node above two hashes."""
    return sha256(b"\x01" + left + right).digest()


def tree_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Returns the root of the tree over these leaves. One hash per leaf, in the order of the leaves."""
    level = leaf_hashes
    while len(level) > 1:
        level = _level_above(level)
    return level[0] if level else EMPTY_ROOT


def inclusion_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Returns the hashes that lead from a leaf to the root: PATH of RFC 6962, section 2.1.1.

    Raises:
        IndexError: there is no leaf with that index.
    """
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(f"a tree of {len(leaf_hashes)} leaves has no leaf {index}")
    return _siblings(leaf_hashes, index)


def consistency_path(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    """Returns the hashes that show that the tree begins with its first `old_size` leaves: PROOF of RFC 6962, section 2.1.2.

    It is empty between a tree and itself, and, beyond the RFC, between the empty tree and any other.

    Raises:
        IndexError: the tree is smaller than `old_size`.
    """
    if not 0 <= old_size <= len(leaf_hashes):
        raise IndexError(f"a tree of {len(leaf_hashes)} leaves did not grow from {old_size}")
    if old_size in {0, len(leaf_hashes)}:
        return []
    level, node = leaf_hashes, old_size - 1
    while node % 2:  # up to the last subtree of the old tree, which is whole in the new one
        level, node = _level_above(level), node // 2
    own = [level[node]] if node else []  # node 0 is the whole old tree, whose root the verifier has
    return own + _siblings(level, node)


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Returns whether the path leads from the leaf's hash to the root: RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size or not _are_hashes(leaf, root, *path):
        return False
    node, last, got = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node % 2 or node == last:
            got = node_hash(sibling, got)
            node, last = _up_to_right_child(node, last)
        else:
            got = node_hash(got, sibling)
        node, last = node // 2, last // 2
    return last == 0 and compare_digest(got, root)


def verify_consistency(  # the arguments are those of the RFC
    old_size: int, new_size: int, path: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Returns whether the path shows that the new tree begins with the leaves of the old: RFC 9162, section 2.1.4.2.

    The empty tree is the beginning of every tree, by an empty path and its own root.
    """
    if not 0 <= old_size <= new_size or not _are_hashes(old_root, new_root, *path):
        return False
    if old_size == new_size:
        return not path and compare_digest(old_root, new_root)
    if old_size == 0:
        return not path and compare_digest(old_root, EMPTY_ROOT)
    hashes = iter(path)
    node, last = old_size - 1, new_size - 1
    while node % 2:
        node, last = node // 2, last // 2
    # An old size that is a power of two is a subtree of the new tree, and its root stands for the path's first hash.
    first = next(hashes, None) if node else old_root
    if first is None:
        return False
    old = new = first
    for sibling in hashes:
        if last == 0:
            return False
        if node % 2 or node == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            node, last = _up_to_right_child(node, last)
        else:
            new = node_hash(new, sibling)
        node, last = node // 2, last // 2
    return last == 0 and compare_digest(old, old_root) and compare_digest(new, new_root)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree that only grows, as its size and the roots of its whole subtrees: enough to append and to have the root.

    `Frontier(tree.size, tree.subtrees)` is the tree again, so these two values are what is stored.
    """

    size: int = 0
    subtrees: tuple[bytes, ...] = ()
    """From the left, the largest first: one for each bit that is set in `size`."""

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.subtrees) != self.size.bit_count() or not _are_hashes(*self.subtrees):
            raise ValueError(
                f"A tree of {self.size} leaves has {max(self.size, 0).bit_count()} whole subtrees, of 32 bytes each."
            )

    def append(self, *leaf_hashes: bytes) -> Self:
        """Returns the tree with these leaves added at its end."""
        return self.extend(leaf_hashes)

    def extend(self, leaf_hashes: Iterable[bytes]) -> Self:
        """Returns the tree with these leaves added at its end."""
        subtrees, size = list(self.subtrees), self.size
        for leaf in leaf_hashes:
            node, whole = leaf, size
            while whole % 2:
                node, whole = node_hash(subtrees.pop(), node), whole // 2
            subtrees.append(node)
            size += 1
        return type(self)(size, tuple(subtrees))

    def path_to(self, leaf_hashes: Sequence[bytes]) -> list[bytes]:
        """Returns the `consistency_path` from this tree to the one with these leaves added at its end.

        Whole subtrees of this tree are nodes of the other, and the rest of the path is over the new leaves: RFC 6962, section 2.1.2.
        """
        size, total = self.size, self.size + len(leaf_hashes)
        if size in {0, total}:
            return []
        left, begin, own, outer = list(self.subtrees), 0, size, []
        while begin + own < total:
            half = 1 << ((total - begin - 1).bit_length() - 1)
            if own <= half:
                outer.append(tree_root(leaf_hashes[begin + half - size : total - size]))
                total = begin + half
            else:
                outer.append(left.pop(0))
                begin, own = begin + half, own - half
        rest = [Frontier(own, tuple(left)).root()] if begin else []
        return rest + outer[::-1]

    def root(self) -> bytes:
        """Returns the root of the tree."""
        if not self.subtrees:
            return EMPTY_ROOT
        *larger, got = self.subtrees
        for subtree in reversed(larger):
            got = node_hash(subtree, got)
        return got


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    """Returns the nodes above those of a level."""
    nodes = iter(level)
    # Written out, because a call of `node_hash` costs a third more in the path of every signature.
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(nodes, nodes, strict=False)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def _siblings(level: Sequence[bytes], node: int) -> list[bytes]:
    """Returns the siblings on the way from a node of a level to the root."""
    path = []
    while len(level) > 1:
        if node ^ 1 < len(level):
            path.append(level[node ^ 1])
        level, node = _level_above(level), node // 2
    return path


def _up_to_right_child(node: int, last: int) -> tuple[int, int]:
    """Returns the node, as it moves up without a partner until it is a right child, and the last node of that level."""
    while node % 2 == 0 and node:
        node, last = node // 2, last // 2
    return node, last


def _are_hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_SIZE for value in values)
