"""Fault points: named places in a worker's code, at which it is stopped or killed if a test has armed them.

A point is armed by a file of that name in a folder; its content is the action. The first worker that reaches the point
takes the file, writes its process id there, and applies the action to itself. So exactly one process is hit, and the
test knows which.
"""

from __future__ import annotations

import importlib
import inspect
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

ACTIONS = {"stop": signal.SIGSTOP, "kill": signal.SIGKILL, "term": signal.SIGTERM}
START = "start-signing"
"""The point at which a signer starts; its action is the number of seconds to shift the signer's clocks by."""


@dataclass(frozen=True)
class Place:
    """Before or after one function of the product; `found` returns whether this call had anything to do."""

    role: str
    module: str
    function: str
    after: bool = True
    found: Callable[[Any], bool] = bool


PLACES = {
    "after-lease": Place(
        "signing", "vaultstream.signing.lease", "lease", found=lambda leased: leased.batches
    ),
    "after-read": Place("signing", "vaultstream.signing.read", "read", found=lambda _: True),
    "after-sign": Place("signing", "vaultstream.signing.sign", "sign", found=lambda _: True),
    "before-ack": Place("signing", "vaultstream.signing.ack", "ack", after=False),
    "after-plan": Place("records", "vaultstream.store.batches", "plan_page"),
    "before-checkpoint": Place("records", "vaultstream.store.batches", "move_published", after=False),
    "after-keys": Place("keys", "vaultstream.store.keys", "add_keys", found=lambda _: True),
}
SIGNER_POINTS = [name for name, place in PLACES.items() if place.role == "signing"]


class Points:
    """The folder of fault points, from the test's side."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder

    def arm(self, point: str, action: str) -> None:
        """Makes the next worker that reaches the point stop, kill or terminate itself or, at its start, shift its clocks."""
        assert point in PLACES or point == START, point
        draft = self.folder / f".{point}"
        draft.write_text(action)
        draft.rename(self.folder / point)

    def taken(self, point: str) -> int | None:
        """Returns the id of the process that reached an armed point; None if none has yet."""
        found = next(self.folder.glob(f"{point}.*"), None)
        return int(found.suffix[1:]) if found else None

    def killed(self) -> set[int]:
        """The ids of the processes that killed themselves at a point that has not been cleared."""
        return {int(path.suffix[1:]) for path in self.folder.glob("[!.]*.*") if path.read_text() == "kill"}

    def clear(self, point: str) -> None:
        """Disarms a point, or forgets which process reached it."""
        for path in (self.folder / point, *self.folder.glob(f"{point}.*")):
            path.unlink(missing_ok=True)


def take(folder: Path, point: str) -> str | None:
    """Returns what must happen at a point, to this process and no other; None: nothing."""
    mine = folder / f"{point}.{os.getpid()}"
    try:
        (folder / point).rename(mine)
    except FileNotFoundError:
        return None
    return mine.read_text()


def install(folder: Path, *, role: str) -> None:
    """Installs the points of this worker's role."""
    offset = take(folder, f"start-{role}")
    if offset is not None:
        shift_clocks(float(offset))
    importlib.import_module(f"vaultstream.{role}.worker")
    for point, place in PLACES.items():
        if place.role == role:
            _wrap(folder, point, place)


def _wrap(folder: Path, point: str, place: Place) -> None:
    function = getattr(importlib.import_module(place.module), place.function)

    def pass_by() -> None:
        action = take(folder, point)
        if action is not None:
            os.kill(os.getpid(), ACTIONS[action])

    if inspect.iscoroutinefunction(function):

        @wraps(function)
        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not place.after and _has_work(args):
                pass_by()
            result = await function(*args, **kwargs)
            if place.after and place.found(result):
                pass_by()
            return result

    else:

        @wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not place.after and _has_work(args):
                pass_by()
            result = function(*args, **kwargs)
            if place.after and place.found(result):
                pass_by()
            return result

    _replace(function, wrapped)


def _has_work(args: tuple[Any, ...]) -> bool:
    """Returns False for an empty list of things to do: then the step does nothing."""
    return any(args)


def _replace(function: object, wrapped: object) -> None:
    """Replaces a function with `wrapped` under every name that the product has for it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("vaultstream."):
            for attribute, value in list(vars(module).items()):
                if value is function:
                    setattr(module, attribute, wrapped)


def shift_clocks(seconds: float) -> None:
    """Shifts every clock that Python code reads, as if on another machine: wall clock and time since boot."""
    nanoseconds = int(seconds * 1e9)

    def later(read: Callable[..., float], by: float) -> Callable[..., float]:
        return lambda *which: read(*which) + by

    for name in ("time", "monotonic", "perf_counter", "clock_gettime"):
        setattr(time, name, later(getattr(time, name), seconds))
        setattr(time, f"{name}_ns", later(getattr(time, f"{name}_ns"), nanoseconds))
