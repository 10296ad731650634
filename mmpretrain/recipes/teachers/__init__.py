"""What teaches beside a run."""
