"""Lakes: versioned tables replaced one day at a time. `delta` is the real one, `memory` the double.

`rows` holds what both accept, `files` and `parquet` how bytes are stored, `staging` what is
remembered about rows not yet published, `log` what commits record.
"""
