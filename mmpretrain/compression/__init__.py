"""Smaller models out of a trained one: fewer heads, channels, layers and words, zeros, eight bits; what each costs."""
