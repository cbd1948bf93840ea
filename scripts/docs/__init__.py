"""The documentation's site: what its pages are made from, how it is built, and what is checked."""
