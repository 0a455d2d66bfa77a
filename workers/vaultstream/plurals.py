"""A number with its noun, for messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun, singular or plural: `1 batch`, `2 batches`, `1,200 keys`.

    Args:
        number: how many.
        noun: the singular.
        plural: for nouns whose plural is not the singular with an `s`.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


class NounCount(int):
    """An integer whose format may be a noun: `{keys:key}` is `2 keys`, `{lag:batch|batches}` is `2 batches`."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        noun, _, plural = spec.partition("|")
        if len(noun) > 1 and noun.replace(" ", "").isalpha():
            return counted(self, noun, plural or None)
        return format(int(self), spec)
