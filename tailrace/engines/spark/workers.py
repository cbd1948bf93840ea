"""What keeps PySpark's Python workers from paying for each task what only their first one must."""

from __future__ import annotations

import gc
import sys
import zipimport

_modules = 0
"""How many were imported when this process last settled."""


def settle() -> None:
    """Make the next task of this worker process start at once; call it at the end of one.

    Before a task PySpark invalidates the caches of imports, at which Python up to 3.12 reads the list of files of
    every archive on its path anew, Spark's own among them. After a task it collects garbage, which walks through all
    that XGBoost and pandas brought with them. The two took 0.3 s a task.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            # Whoever imports from the archive again gets a new one, from the list that Python keeps beside it.
            del sys.path_importer_cache[place]
    global _modules
    if len(sys.modules) > _modules:
        gc.collect()
        gc.freeze()
        _modules = len(sys.modules)
