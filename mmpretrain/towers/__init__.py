"""Encoders: images and text to tokens and a pooled vector; the model joins them."""
