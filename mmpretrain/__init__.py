"""Multimodal image-text pretraining: one exact order, one run, one gradient, one config, one command each."""

__version__ = "0.1.0"
