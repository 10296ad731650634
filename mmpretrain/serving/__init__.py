"""Runs and exports behind an HTTP address."""
