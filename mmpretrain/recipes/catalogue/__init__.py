"""Models that there are, as rows of one table: configs, runs, exports."""
