"""What a server may take, and how long."""

from dataclasses import field
from typing import Annotated

from pydantic import Field

from mmpretrain.core.settings import settings


@settings
class Serving:
    """Every limit of a server."""

    host: str = "127.0.0.1"
    """Address to listen on; this machine alone."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """0: any that is free."""
    allowed_hosts: list[str] = field(default_factory=list)
    """Names by which it may be asked, besides localhost and addresses of numbers."""
    batch: Annotated[int, Field(gt=0, le=1024)] = 32
    """Most rows that a model is asked about at a time."""
    wait_ms: Annotated[float, Field(ge=0, le=1000)] = 4.0
    """The first row of a batch waits so long for others."""
    queue: Annotated[int, Field(gt=0)] = 512
    """Most rows that wait for the models; what comes then is refused with 503."""
    inputs: Annotated[int, Field(gt=0)] = 256
    """Most texts and pictures of one request, labels times templates included."""
    text_characters: Annotated[int, Field(gt=0)] = 8_000
    """Longest text; tokenizers keep far less."""
    body_megabytes: Annotated[float, Field(gt=0)] = 16.0
    """Largest request."""
    held_megabytes: Annotated[float, Field(gt=0)] = 128.0
    """Requests that are in memory at a time; what comes then is refused with 503."""
    megapixels: Annotated[float, Field(gt=0)] = 16.0
    """Largest picture, by its header."""
    cache_megabytes: Annotated[float, Field(ge=0)] = 16.0
    """Vectors that are remembered by what they are of; 0: none."""
    seconds: Annotated[float, Field(gt=0)] = 30.0
    """A request may take; then it is answered with 504, and what is left of its work is dropped."""
    header_seconds: Annotated[float, Field(gt=0)] = 10.0
    """The head of a request may take to arrive."""
    body_seconds: Annotated[float, Field(gt=0)] = 15.0
    """Its body may take to arrive; then it is answered with 408."""
    connections: Annotated[int, Field(gt=0)] = 256
    """At a time."""
    stop_seconds: Annotated[float, Field(gt=0)] = 40.0
    """A stop waits so long for accepted requests."""
