"""Pictures found by a text or by another picture."""
