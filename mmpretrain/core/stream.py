"""Large safetensors files written beside other work, without taking memory or a second reading."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

PIECE_BYTES = 8 << 20
PUSH_BYTES = 64 << 20
"""Written before it is pushed to the disk, and its pages are given back."""
ALIGNED = 8
KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The format's words: https://github.com/huggingface/safetensors#format."""


def stream_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write tensors by name as safetensors does, and give the file's SHA-256.

    It is hashed from the memory that is written, and leaves the page cache as it grows: gigabytes of it would cost
    training, which then gets its own memory page by page from elsewhere, more than the writing.

    Raises:
        OSError: the disk does not take them.
    """
    digest, unpushed = hashlib.sha256(), 0
    with path.open("wb") as file:
        for piece in pieces(tensors):
            digest.update(piece)
            unpushed += file.write(piece)
            if unpushed >= PUSH_BYTES:
                file.flush()
                push(file.fileno())
                unpushed = 0
    return digest.hexdigest()


def pieces(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """The bytes of the file in their order: length of the header, header, tensors; the widest numbers first."""
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header, end = {}, 0
    for name, tensor in ordered:
        offsets = [end, end := end + tensor.nbytes]
        header[name] = {"dtype": KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % ALIGNED)
    yield len(text).to_bytes(8, "little") + text
    for _, tensor in ordered:
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        for start in range(0, len(data), PIECE_BYTES):
            yield data[start : start + PIECE_BYTES]


def push(descriptor: int) -> None:
    """Wait until the disk has what was written, and let go of its pages where the system can."""
    os.fsync(descriptor)
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
