"""Read a Python repository's own metadata, without running any of it, into a profile of how to build and test it."""
