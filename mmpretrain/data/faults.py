"""What is wrong with a sample that cannot be used."""

from mmpretrain.core.errors import DataError


class BadSample(Exception):
    """One sample cannot be used; training goes on with another in its place.

    Args:
        reason: a class of fault in snake_case, such as `damaged_image`; accounts count by it.
        detail: one line for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type["BadSample"], tuple[str, str]]:
        return BadSample, (self.reason, self.detail)  # worker processes hand it over


class UnusableSample(DataError):
    """A split that is read as a whole holds a sample that cannot be used.

    Args:
        split: whose it is, as `Dataset.identity` says.
    """

    def __init__(self, message: str, split: tuple[str, ...]) -> None:
        super().__init__(message)
        self.split = split

    def __reduce__(self) -> tuple[type["UnusableSample"], tuple[str, tuple[str, ...]]]:
        return UnusableSample, (str(self), self.split)  # ranks and worker processes hand it over
