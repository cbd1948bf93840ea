"""Lakes: versioned tables, replaced one day at a time. `delta` is the real one, `memory` the one for tests.

Of the Delta lake, `reading`, `publishing` (with `staging`) and `upkeep` implement one protocol each. They share
`tables` (finding and opening), `table_version` (one table at one version), `log` (its history), `records` (what commits
say), `transactions` (making commits) and `heads` (the latest version).

Below them, `rows` decides which rows are accepted, `parquet` and `files` store the bytes, `parts` are pieces of a table
for other processes, `foreign` checks other writers' files, and `manifests` describe staged rows.
"""
