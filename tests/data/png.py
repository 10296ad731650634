"""A PNG encoder for every colour type and bit depth of the specification, which Pillow cannot write."""

import struct
import zlib

import numpy as np

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def header(width: int, height: int, depth: int, colour: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def encode(samples: np.ndarray, depth: int, colour: int, *extra: bytes) -> bytes:
    """`samples` is height x width x channels of integers below 2**depth; `extra` are chunks such as PLTE, tRNS."""
    height, width, channels = samples.shape
    if depth == 16:
        lines = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif depth == 8:
        lines = samples.astype(np.uint8).reshape(height, -1)
    else:
        flat = samples.reshape(height, width * channels).astype(np.uint8)
        bits = np.unpackbits(flat[..., None], axis=2)[..., 8 - depth :].reshape(height, -1)
        lines = np.packbits(bits, axis=1)
    raw = b"".join(b"\0" + line.tobytes() for line in lines)
    return b"".join(
        [
            SIGNATURE,
            header(width, height, depth, colour),
            *extra,
            chunk(b"IDAT", zlib.compress(raw)),
            chunk(b"IEND", b""),
        ]
    )


def bomb(width: int, height: int, depth: int = 1, colour: int = GREY, *extra: bytes) -> bytes:
    """A picture of zeros that is small as a file and huge in memory."""
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}[colour]
    line = bytes(1 + -(-width * depth * channels // 8))
    packer = zlib.compressobj(9)
    block = line * 64
    body = [packer.compress(block) for _ in range(height // 64)] + [packer.compress(line * (height % 64))]
    body.append(packer.flush())
    return b"".join(
        [SIGNATURE, header(width, height, depth, colour), *extra, chunk(b"IDAT", b"".join(body)), chunk(b"IEND", b"")]
    )
