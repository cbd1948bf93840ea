"""Does once per PySpark worker process what PySpark would otherwise repeat for each task."""

from __future__ import annotations

import gc
import sys
import zipimport

_modules = 0
"""How many modules were imported when this process last settled."""


def settle() -> None:
    """Make the next task of this worker process start without delay; call it at the end of a task.

    Before each task PySpark clears the import caches, so that Python up to 3.12 reads again the file list of every
    archive on its path, including Spark's own. After each task it collects garbage, which scans every object that
    XGBoost and pandas created. The two took 0.3 s per task.
    """
    for place, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimport.zipimporter):
            # A later import from the archive creates a new importer, from the file list that Python caches separately.
            del sys.path_importer_cache[place]
    global _modules
    if len(sys.modules) > _modules:
        gc.collect()
        gc.freeze()
        _modules = len(sys.modules)
