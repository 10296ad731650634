"""The loop, one optimizer step, checkpoints and metrics. Knows only core and the engine contract."""
