"""What a class index means beside a class."""

IGNORE = -1
"""Class index of a pixel without ground truth: no loss and no metric counts it."""
