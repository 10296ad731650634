"""What is wrong with a sample that cannot be used."""


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
