"""Tailrace: batch ML pipelines from warehouse tables to audited predictions."""

__version__ = "0.1.0"
