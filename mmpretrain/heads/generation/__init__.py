"""Texts about pictures, written word by word by a decoder; `write` is where to begin to read."""
