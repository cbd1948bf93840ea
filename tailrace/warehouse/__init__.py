"""The warehouse, where dbt builds the tables a pipeline starts from: one file per implementation."""
