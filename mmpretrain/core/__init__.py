"""Nouns on the belt: batches, typed settings, distributed helpers, run folders, weights on disk."""
