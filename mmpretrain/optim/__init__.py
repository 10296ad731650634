"""Parameter groups, optimizers, schedules and weight averages."""
