"""The programs that the Makefile runs: `make demo`, `make up` and others."""
