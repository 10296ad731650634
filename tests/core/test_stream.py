"""Files that are written beside training are safetensors as everybody's, whole, and hashed as they are on the disk."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from mmpretrain.core import stream
from mmpretrain.core.files import sha256

TENSORS = {
    **{f"kind {kind}": torch.arange(5).to(kind) for kind in stream.KINDS},
    "odd": torch.tensor([True, False, True]),
    "wide": torch.randn(5, 7, dtype=torch.float64),
    "turned": torch.randn(6, 4).t(),
    "half": torch.randn(3).bfloat16(),
    "count": torch.tensor(7),
    "empty": torch.zeros(0, 3),
}


@pytest.mark.parametrize("tensors", [TENSORS, {}], ids=["every kind", "none"])
@pytest.mark.parametrize("size", [16, 1 << 20])
def test_a_streamed_file_is_read_by_the_library_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tensors: dict[str, Tensor], size: int
):
    monkeypatch.setattr(stream, "PIECE_BYTES", size)
    monkeypatch.setattr(stream, "PUSH_BYTES", 2 * size)
    file = tmp_path / "tensors.safetensors"
    assert stream.stream_tensors(file, tensors) == sha256(file)
    found = load_file(file)
    assert set(found) == set(tensors)
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
