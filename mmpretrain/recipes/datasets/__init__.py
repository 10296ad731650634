"""Commands that look after a dataset: pack, check, split, show."""
