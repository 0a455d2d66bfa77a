"""Run by every Python that has this folder on its path, before anything else: opens a worker to faults.

The product has no hooks for them. A process that is no worker, or that no test has given fault points, stays as it is.
"""

import os
import sys

_words = sys.orig_argv
if "CHAOS_POINTS" in os.environ and "worker" in _words[:-2]:
    from pathlib import Path

    from support.chaos import points

    points.install(Path(os.environ["CHAOS_POINTS"]), role=_words[_words.index("worker") + 1])
