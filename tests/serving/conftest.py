"""Fixtures of served models."""

from tests.serving.site import able, asked, blue, models, plain, quiz_data, red

__all__ = ["able", "asked", "blue", "models", "plain", "quiz_data", "red"]
