"""What a request is refused with: a status, and one line that names the thing and the remedy."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

LONGEST = 400
"""Characters of a message."""


class Refused(Exception):
    """Ends a request.

    Args:
        more: further fields of the answer.
        headers: of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        more: Mapping[str, Any] = MappingProxyType({}),
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.status = status
        self.message = one_line(message)
        self.more = more
        self.headers = headers
        super().__init__(self.message)

    def body(self) -> bytes:
        return json.dumps({"error": self.message, **self.more}).encode()


def one_line(text: str) -> str:
    """Lines joined, what is too long cut."""
    joined = "; ".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return joined if len(joined) <= LONGEST else f"{joined[: LONGEST - 1]}…"


def busy(what: str, seconds: int = 1) -> Refused:
    """Too much at a time: the same request may work a little later."""
    return Refused(503, f"{what}; try again in {seconds} s", headers={"Retry-After": str(seconds)})
