"""Run first by every Python that has this folder on its path: installs fault points in workers.

The product has no hooks for them. Processes that are not workers, or have no fault points, are not changed.
"""

import os
import sys

_words = sys.orig_argv
if "CHAOS_POINTS" in os.environ and "worker" in _words[:-2]:
    from pathlib import Path

    from support.chaos import points

    points.install(Path(os.environ["CHAOS_POINTS"]), role=_words[_words.index("worker") + 1])
