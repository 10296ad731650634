"""Proof that a batch may be cut in any way: gradients of every cut against one process with the whole batch."""
