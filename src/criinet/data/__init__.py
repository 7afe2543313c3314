"""Cases on disk: reading and writing them, checking a dataset, splitting it."""
