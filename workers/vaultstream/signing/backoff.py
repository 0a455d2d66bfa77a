"""Delays before a retry."""

from __future__ import annotations

import random


def full_jitter(attempt: int, *, initial_seconds: float, max_seconds: float) -> float:
    """Returns a delay in seconds, uniform in [0, min(max, initial · 2^(attempt-1))].

    "Full jitter" from M. Brooker, Exponential Backoff And Jitter (AWS Architecture Blog, 2015): callers that failed
    together do not retry together.

    Args:
        attempt: how many attempts have failed, from 1.
        initial_seconds: the upper bound after the first attempt.
        max_seconds: the upper bound after any attempt.
    """
    ceiling = min(max_seconds, initial_seconds * 2 ** min(attempt - 1, 62))
    return random.uniform(0, ceiling)  # noqa: S311 - spreads load, protects no secret
