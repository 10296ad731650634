"""What the exact order over a dataset takes in each process that reads it."""

BLOCK, WINDOW = 256, 64
"""As `data.order.Order` has them."""
INT64 = 8


def order_bytes(pairs: int, shards: int) -> int:
    """Bytes that the order keeps: where each block of samples starts, the blocks of two epochs, and each shard's start.

    Every shard ends with a block of its own that may be short.
    """
    blocks = pairs // BLOCK + shards
    return INT64 * (blocks + 2 * (blocks + blocks // WINDOW) + shards)
