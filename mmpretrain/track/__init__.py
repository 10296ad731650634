"""The run's numbers for other programs to draw; none of them may stop or slow a run."""
