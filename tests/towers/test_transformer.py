"""The transformer in its three modes: who sees whom, what padding changes, what is shared."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build
from mmpretrain.towers.fusion import CrossTransformer, Fusion
from mmpretrain.towers.model import Towers
from mmpretrain.towers.text import BidirectionalText, CausalText, TextTower, Transformer

WIDTH, LENGTH, VOCABULARY, IMAGE = 16, 8, 40, 24
SHAPE: dict[str, Any] = {"width": WIDTH, "layers": 2, "heads": 2}
TEXTS: dict[str, Transformer] = {
    "causal": CausalText(**SHAPE),
    "causal with OpenAI's GELU": CausalText(**SHAPE, mlp="quick_gelu"),
    "causal, rotary and gated": CausalText(**SHAPE, positions="rotary", mlp="swiglu"),
    "bidirectional": BidirectionalText(**SHAPE),
    "bidirectional, norms in front": BidirectionalText(**SHAPE, norm="pre", pool="mean"),
    "bidirectional, rotary": BidirectionalText(**SHAPE, positions="rotary", segments=0),
}
every_text = pytest.mark.parametrize("name", TEXTS)


def tower(name: str) -> TextTower:
    torch.manual_seed(0)
    built = TEXTS[name].build(VOCABULARY, LENGTH).double().eval()  # type: ignore[attr-defined]
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built  # type: ignore[no-any-return]


def tokens(rows: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens_BL = torch.randint(1, VOCABULARY, (rows, LENGTH), generator=generator)
    mask_BL = torch.arange(LENGTH) < torch.tensor([[LENGTH], [5], [3]])[:rows]
    return tokens_BL * mask_BL, mask_BL


def sees(run: Any, length: int) -> Tensor:
    """Whether an output place (row) depends on an input place (column)."""
    x_1LD = torch.randn(1, length, WIDTH, dtype=torch.float64, requires_grad=True)
    out = run(x_1LD)
    rows = [torch.autograd.grad(out[0, place].sum(), x_1LD, retain_graph=True)[0][0] for place in range(out.shape[1])]
    return torch.stack([row.abs().sum(dim=1) > 1e-12 for row in rows])


@every_text
def test_padding_changes_no_token_and_no_pooled_vector(name: str) -> None:
    built, (tokens_BL, mask_BL) = tower(name), tokens()
    all_BLD, pooled_BD = built(tokens_BL, mask_BL)
    for row in range(len(tokens_BL)):
        length = int(mask_BL[row].sum())
        own_1LD, own_1D = built(tokens_BL[row : row + 1, :length], mask_BL[row : row + 1, :length])
        torch.testing.assert_close(all_BLD[row, :length], own_1LD[0])
        torch.testing.assert_close(pooled_BD[row], own_1D[0])


@every_text
@pytest.mark.parametrize("causal", [True, False])
def test_one_set_of_weights_reads_both_ways_or_from_left_to_right(name: str, causal: bool) -> None:
    built = tower(name)
    view = built.view(torch.ones(1, LENGTH, dtype=torch.bool), causal=causal)

    def run(x_1LD: Tensor) -> Tensor:
        for block in built.blocks:
            x_1LD = block(x_1LD, view)
        return x_1LD

    everything = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
    assert torch.equal(sees(run, LENGTH), everything.tril() if causal else everything)


@every_text
def test_recomputed_activations_give_the_same_gradient(name: str) -> None:
    tokens_BL, mask_BL = tokens()
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        built = replace(TEXTS[name], checkpointing=checkpointing, dropout=0.2).build(VOCABULARY, LENGTH)  # type: ignore[attr-defined]
        torch.manual_seed(1)
        built(tokens_BL, mask_BL)[1].square().sum().backward()
        found.append({key: parameter.grad for key, parameter in built.named_parameters()})
    assert found[0].keys() == found[1].keys()
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, msg=key)


@every_text
def test_a_trace_is_the_pass_with_all_that_stands_between(name: str) -> None:
    built, (tokens_BL, mask_BL) = tower(name), tokens()
    trace = built.trace(tokens_BL, mask_BL, heads_of={2})
    assert torch.equal(trace.states[-1], built(tokens_BL, mask_BL)[0])
    assert len(trace.states) == 1 + len(built.blocks)
    assert torch.equal(trace.states[0], built.embedding(tokens_BL))
    assert torch.equal(trace.states[1], built.blocks[0](trace.states[0], built.view(mask_BL)))
    assert trace.heads.keys() == {2}


@every_text
def test_the_heads_of_a_trace_are_what_attention_is_made_of(name: str) -> None:
    built, (tokens_BL, mask_BL) = tower(name), tokens()
    block, trace = built.blocks[1], built.trace(tokens_BL, mask_BL, heads_of={2})
    query_BHLK, key_BHLK, value_BHLK = trace.heads[2]
    seen_BQL = mask_BL[:, None].expand(-1, LENGTH, -1)
    seen_BQL = seen_BQL.tril() if built.causal else seen_BQL
    scores_BHQL = torch.einsum("bhqk,bhlk->bhql", query_BHLK, key_BHLK) / query_BHLK.shape[-1] ** 0.5
    weights_BHQL = scores_BHQL.masked_fill(~seen_BQL[:, None], -torch.inf).softmax(dim=-1)
    mixed_BLHK = torch.einsum("bhql,bhlk->bqhk", weights_BHQL, value_BHLK)
    given_BLD = block.attention_norm(trace.states[1]) if block.pre_norm else trace.states[1]
    found_BLD = block.attention(given_BLD, built.view(mask_BL))
    expected_BLD = block.attention.output(mixed_BLHK.flatten(2))
    torch.testing.assert_close(found_BLD[mask_BL], expected_BLD[mask_BL], rtol=1e-10, atol=1e-12)


@every_text
def test_a_traces_gradient_is_the_same_with_recomputed_activations(name: str) -> None:
    tokens_BL, mask_BL = tokens()
    found = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        built = replace(TEXTS[name], checkpointing=checkpointing, dropout=0.2).build(VOCABULARY, LENGTH)  # type: ignore[attr-defined]
        torch.manual_seed(1)
        trace = built.trace(tokens_BL, mask_BL, heads_of={1, 2})
        sum(part.square().sum() for part in (*trace.states, *trace.heads[1], *trace.heads[2])).backward()
        found.append({key: parameter.grad for key, parameter in built.named_parameters()})
    for key, gradient in found[0].items():
        torch.testing.assert_close(found[1][key], gradient, msg=key)


def test_rotary_positions_know_distances_and_not_places() -> None:
    built = tower("bidirectional, rotary")
    tokens_BL, mask_BL = tokens(1)
    places_BL = torch.arange(LENGTH)[None]
    here, there = (built(tokens_BL, mask_BL, positions_BL=places_BL + shift)[0] for shift in (0, 5))
    torch.testing.assert_close(here, there, rtol=1e-6, atol=1e-6)  # angles are fp32
    turned = built(tokens_BL, mask_BL, positions_BL=places_BL.flip(1))[0]
    assert not torch.allclose(here, turned, rtol=1e-3)


# -- with a picture ---------------------------------------------------------------------------------------

READERS: dict[str, tuple[Fusion, bool]] = {
    "fusion": (Fusion(layers=1), False),
    "decoder": (Fusion(layers=1), True),
    "fusion in one row": (Fusion(layers=2, image="joined"), False),
    "decoder in one row": (Fusion(layers=2, image="joined"), True),
    "fusion with the tower's weights": (Fusion(start="embedding", shares="text"), False),
}


def reader(name: str) -> CrossTransformer:
    settings, causal = READERS[name]
    built = CrossTransformer(settings, tower("bidirectional"), IMAGE, causal).double().eval()
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return built


@pytest.mark.parametrize("name", READERS)
def test_a_reader_sees_the_picture_and_a_decoder_nothing_ahead(name: str) -> None:
    built, image_1ND = reader(name), torch.randn(1, 4, IMAGE, dtype=torch.float64, requires_grad=True)
    mask_1L = torch.ones(1, LENGTH, dtype=torch.bool)
    everything = torch.ones(LENGTH, LENGTH, dtype=torch.bool)
    found = sees(lambda x_1LD: built(x_1LD, mask_1L, image_1ND), LENGTH)
    assert torch.equal(found, everything.tril() if built.causal else everything)
    for place in range(LENGTH):
        out = built(torch.ones(1, LENGTH, WIDTH, dtype=torch.float64), mask_1L, image_1ND)
        (gradient,) = torch.autograd.grad(out[0, place].sum(), image_1ND)
        assert (gradient.abs().sum(dim=2) > 0).all(), "each token of the picture is seen from each place"


@pytest.mark.parametrize("name", READERS)
def test_a_readers_padding_and_batch_mates_change_nothing(name: str) -> None:
    built = reader(name)
    x_BLD, image_BND = (
        torch.randn(3, size, width, dtype=torch.float64) for size, width in ((LENGTH, WIDTH), (4, IMAGE))
    )
    _, mask_BL = tokens()
    together = built(x_BLD, mask_BL, image_BND)
    for row in range(3):
        length = int(mask_BL[row].sum())
        alone = built(x_BLD[row : row + 1, :length], mask_BL[row : row + 1, :length], image_BND[row : row + 1])
        torch.testing.assert_close(together[row, :length], alone[0])


def test_a_prefix_is_read_both_ways_and_the_rest_from_left_to_right() -> None:
    built, image_1ND = reader("decoder"), torch.randn(1, 4, IMAGE, dtype=torch.float64)
    mask_1L = torch.ones(1, LENGTH, dtype=torch.bool)
    found = sees(lambda x_1LD: built(x_1LD, mask_1L, image_1ND, 3), LENGTH)
    expected = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    expected[:3, :3] = True
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("towers", "said"),
    [
        ({"fusion": {}}, "image: fusion and decoder look at a picture"),
        ({"image": "vit", "fusion": {"shares": "fusion"}}, "fusion cannot share its own weights"),
        ({"image": "vit", "decoder": {"shares": "fusion"}}, "there is no fusion to share with"),
        ({"image": "vit", "decoder": {}, "text": {"kind": "bidirectional"}}, "a decoder would see the words"),
        ({"image": "vit", "fusion": {"shares": "text", "image": "joined"}}, "joined shares no weights"),
        ({"image": "vit", "fusion": {"own_attention": True}}, "shares is nothing"),
        ({"text": {"kind": "causal", "width": 6, "heads": 2, "positions": "rotary"}}, "turns pairs of channels"),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(towers: dict, said: str) -> None:
    if "image" in towers:
        towers = {**towers, "image": {"kind": "timm", "name": "test_vit", "size": 32}}
    with pytest.raises(ConfigError, match=said):
        build(Towers, {"text": {"kind": "causal", **SHAPE}, **towers})


def test_a_part_that_an_objective_needs_and_nobody_configured_is_named() -> None:
    with pytest.raises(ConfigError, match="fusion: an objective needs it"):
        build(Towers, {"image": {"kind": "timm", "name": "test_vit", "size": 32}}).build(10, 8, frozenset({"fusion"}))
