"""Measurements of the project against what people use today; each compares within one run."""
