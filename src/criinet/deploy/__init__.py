"""Trained runs outside of training: exported files, their check against the run, and prediction without torch."""
