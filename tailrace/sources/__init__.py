"""Where rows come from: for each day, a source returns what it knew at that day's cutoff.

A project's own sources are classes, or made of FolderSource and SqlSource.
"""

from tailrace.sources.folder import FolderSource
from tailrace.sources.sql import SqlSource

__all__ = ["FolderSource", "SqlSource"]
