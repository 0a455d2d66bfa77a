"""fuzz_module.py FOLDER SEED: calls the extension in a folder with arguments of all kinds; run under a sanitizer, in a process of its own.

Prints the number of calls that succeeded and of those that raised.
"""

from __future__ import annotations

import random
import sys
from typing import Any

sys.path.insert(0, sys.argv[1])
import _multibuffer as native  # type: ignore[import-not-found]

chance = random.Random(int(sys.argv[2]))
PUBLIC = [
    bytes.fromhex("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c"),
    bytes.fromhex("8139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b394"),
    bytes.fromhex("ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1"),
]
SEEDS = [native.Ed25519Key(bytes([number]) * 32, point) for number, point in enumerate(PUBLIC, 1)]
KEYS = [native.Key(bytes(31) + bytes([number])) for number in (1, 2, 3)]
POINT = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
ODD: list[Any] = [None, 0, -1, 1.5, "text", b"", bytearray(8), 2**70, [], {}, KEYS[0], object()]


def blob(most: int) -> bytes:
    return chance.randbytes(chance.choice([0, 1, 31, 32, 33, 34, 63, 64, 65, 66, 71, most]))


def maybe_odd(value: Any) -> Any:
    """Returns the value, or seldom another one."""
    if chance.random() < 0.03:
        return chance.choice(ODD)
    if isinstance(value, list) and value and chance.random() < 0.03:
        value[chance.randrange(len(value))] = chance.choice(ODD)
    return chance.choice([list, tuple])(value) if isinstance(value, list) else value


def counts(total: int, groups: int) -> list[int]:
    cuts = sorted(chance.randint(0, total) for _ in range(max(groups - 1, 0)))
    sizes = [end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True)]
    if chance.random() < 0.05:
        sizes[chance.randrange(len(sizes))] += chance.choice([1, -1, 2**62, -(2**63), 2**63])
    return sizes


def signature() -> bytes:
    packed: bytes = native.sign(KEYS[:1], [1], [b"payload"], None, 105)
    found = packed[34 : 34 + packed[33]]
    place = chance.randrange(len(found))
    return chance.choice([found, blob(200), found[:place], found[:place] + blob(9), found + b"\0"])


def some_ids(size: int) -> list[Any]:
    return [chance.choice([blob(50), "é" * size, size - 9, 2**63 - 1, -(2**63)]) for _ in range(size)]


def packed(numbers: list[int]) -> bytes:
    return b"".join(number.to_bytes(8, "little", signed=True) for number in numbers)


def copied(columns: int, numbers: list[int], digests: list[bytes]) -> bytes:
    """Returns rows of COPY for these ids, seldom altered somewhere."""
    rows = bytearray(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    for number, digest in zip(numbers, digests, strict=True):
        stated = [bytes(4), bytes(4), bytes(8), digest, signature() if columns == 6 else blob(100)]
        fields = [number.to_bytes(8, signed=True), *stated[-(columns - 1) :]][:columns]
        rows += len(fields).to_bytes(2)
        for each in fields:
            rows += b"\xff" * 4 if chance.random() < 0.01 else len(each).to_bytes(4) + each
    rows += b"\xff\xff"
    if chance.random() < 0.3:
        rows[chance.randrange(len(rows))] = chance.choice([0, 1, 0x7F, 0xFF])
    return bytes(rows[: chance.choice([len(rows)] * 9 + [chance.randrange(len(rows))])])


def one_audit() -> object:
    size, groups = chance.randrange(30), chance.randrange(1, 4)
    ids = sorted({chance.choice([chance.randrange(-9, 40), 2**63 - 1, -(2**63)]) for _ in range(size)})
    digests = [chance.randbytes(32) for _ in ids]
    shown = [chance.choice([each, each, each, 7]) for each in ids]
    match chance.randrange(3):
        case 0:
            return native.audit_payloads(*map(maybe_odd, (packed(ids), copied(2, shown, digests))))
        case 1:
            return native.audit_known(*map(maybe_odd, (packed(ids), copied(1, shown, digests))))
    stated = b"".join(
        each.to_bytes(4, "little", signed=True)
        + bytes(16)
        + chance.choice([0, 0, 0, 1, 2**31]).to_bytes(4, "little")
        + chance.randbytes(32)
        for each in counts(len(ids), groups)
        if -9 < each < 99
    )
    points = [POINT if chance.random() < 0.95 else blob(65) for _ in range(chance.choice([1, 2]))]
    arguments = packed(ids), stated, points, b"".join(digests)
    return native.audit_batches(*map(maybe_odd, (*arguments, copied(6, shown, digests))))


def one_call() -> object:  # noqa: PLR0911 - one for each function
    size, groups = chance.randrange(30), chance.randrange(1, 4)
    width = chance.choice([105] * 20 + [106, 300, 104, 0, -1, 34, 65536, 65537, 2**40])
    match chance.randrange(8):
        case 0 | 1:
            messages = chance.choice([None, [blob(500) for _ in range(size)]])
            payloads = [blob(500) for _ in range(size)]
            kind = chance.choice([KEYS, SEEDS])
            keys = [chance.choice(kind) for _ in range(groups)]
            arguments = keys, counts(size, groups), payloads, messages, width
            return native.sign(*map(maybe_odd, arguments))
        case 2:
            digests = [chance.randbytes(32) if chance.random() < 0.9 else blob(40) for _ in range(size)]
            points = [POINT if chance.random() < 0.95 else blob(65) for _ in range(groups)]
            arguments = points, counts(size, groups), digests, [signature() for _ in range(size)]
            return native.verify(*map(maybe_odd, arguments))
        case 3:
            ids = [some_ids(size) for _ in range(groups)]
            rows = native.sign(KEYS[:1], [size], [b""] * size, None, 105)
            rows = [
                chance.choice([rows, bytearray(rows), rows, rows[:-1], chance.randbytes(len(rows))])
                for _ in range(groups)
            ]
            return native.roots(*map(maybe_odd, (ids, rows, chance.choice([105, width]))))
        case 4 if chance.random() < 0.3:
            texts = [[blob(300) for _ in range(size)] for _ in "ab"]
            return native.root(*map(maybe_odd, (some_ids(size), *texts)))
        case 4 if chance.random() < 0.3:
            return native.any_begins(maybe_odd([blob(20) for _ in range(size)]), maybe_odd(blob(3)))
        case 4:
            return native.sha256(maybe_odd([blob(1000) for _ in range(size)]))
        case 5:
            if chance.random() < 0.5:
                return native.Key(maybe_odd(blob(32)))
            number = chance.randrange(3)
            seed = chance.choice([bytes([number + 1]) * 32, blob(32)])
            return native.Ed25519Key(*map(maybe_odd, (seed, chance.choice([PUBLIC[number], blob(32)]))))
        case 6:
            points = [blob(32) for _ in range(groups)]
            signatures = [chance.choice([blob(64), bytes(64)]) for _ in range(size)]
            arguments = points, counts(size, groups), [blob(300) for _ in range(size)], signatures
            return native.verify_ed25519(*map(maybe_odd, arguments))
        case _:
            return native.known_answer(
                *(maybe_odd(chance.randbytes(chance.choice([32, 32, 32, 31]))) for _ in "abc")
            )


if __name__ == "__main__":
    ours = [*KEYS, *SEEDS, *(each for each in ODD if type(each) in {bytearray, dict, list, object}), POINT]
    references = [sys.getrefcount(each) for each in ours]
    succeeded = raised = 0
    for _ in range(3000):
        try:
            one_audit() if chance.random() < 0.2 else one_call()
            succeeded += 1
        except (TypeError, ValueError, OverflowError, MemoryError):
            raised += 1
    assert references == [sys.getrefcount(each) for each in ours], "a reference was lost or kept"
    sys.stdout.write(f"{succeeded} {raised}\n")
