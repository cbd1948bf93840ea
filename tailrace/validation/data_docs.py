"""Data Docs: one of Great Expectations' own pages for each suite and day (or range of days), with an index.

Results are stored as JSON next to the pages. Great Expectations would list all of them, and read hundreds, for every
page it builds. So it is shown only the one it builds, and the index is `docs_index`'s.
"""

from __future__ import annotations

import datetime as dt
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.core.run_identifier import RunIdentifier
from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
from great_expectations.data_context.types.base import DataContextConfig
from great_expectations.data_context.types.resource_identifiers import (
    ExpectationSuiteIdentifier,
    ValidationResultIdentifier,
)

from tailrace.validation import docs_index

SITE = "data_docs"
_KEPT = "kept"
"""The store of all results; the one named `results` has those of this process only."""
_RESULTS = {"class_name": "ValidationResultsStore"}


def project(docs: Path | None) -> DataContextConfig:
    """A context in memory; its results and pages go to the folder `docs`."""
    kept = {_KEPT: {**_RESULTS, "store_backend": _files(docs / docs_index.RESULTS)}} if docs else {}
    return DataContextConfig(
        expectations_store_name="expectations",
        validation_results_store_name="results",
        checkpoint_store_name="checkpoints",
        stores={
            "expectations": {"class_name": "ExpectationsStore"},
            "results": _RESULTS,
            **kept,
            "checkpoints": {"class_name": "CheckpointStore"},
            "validation_definition_store": {"class_name": "ValidationDefinitionStore"},
        },
        data_docs_sites={SITE: _site(docs)} if docs else {},
        progress_bars={"globally": False},
        analytics_enabled=False,
    )


def publish(
    context: EphemeralDataContext,
    outcome: ExpectationSuiteValidationResult,
    *,
    docs: Path,
    name: str,
    day: dt.date,
    batch: str,
) -> str:
    """Write the page and the index, replacing an earlier page of that suite, name and day; returns the page's path."""
    run_id = RunIdentifier(run_name=name, run_time=dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC))
    outcome.meta |= {"run_id": run_id, "validation_time": run_id.run_time}
    suite = ExpectationSuiteIdentifier(outcome.suite_name)
    page = ValidationResultIdentifier(expectation_suite_identifier=suite, run_id=run_id, batch_identifier=batch)
    for store in (context.validation_results_store, context.stores[_KEPT]):
        store.store_validation_results(outcome, page, suite)
    context.build_data_docs(site_names=[SITE], resource_identifiers=[page], build_index=False)
    url = context.get_docs_sites_urls(resource_identifier=page, site_name=SITE)[0]["site_url"]
    path = urllib.request.url2pathname(urllib.parse.urlparse(url).path)
    listed = docs_index.ListedPage(
        suite=outcome.suite_name,
        name=name,
        day=str(day),
        success=bool(outcome.success),
        page=Path(path).relative_to(docs).as_posix(),
    )
    docs_index.add(docs, listed)
    return path


def _site(docs: Path) -> dict[str, Any]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": _files(docs),
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "site_section_builders": {"expectations": "None", "profiling": "None"},
    }


def _files(folder: Path) -> dict[str, str]:
    return {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)}
