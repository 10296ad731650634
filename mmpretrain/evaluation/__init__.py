"""Evaluators: run(embedder) returns named metrics with intervals and chance."""
