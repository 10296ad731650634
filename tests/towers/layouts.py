"""Every way in which a decoder may stand on a text tower, as small models in fp64 with weights that are not small."""

from dataclasses import dataclass, field
from typing import Any

import torch

from mmpretrain.towers.fusion import Fusion
from mmpretrain.towers.image import TimmImage
from mmpretrain.towers.model import Model, Towers
from mmpretrain.towers.text import BidirectionalText, CausalText, Transformer

VOCABULARY, CONTEXT, SIZE = 24, 10, 32
SHAPE: dict[str, Any] = {"width": 16, "layers": 2, "heads": 2}


@dataclass(frozen=True, kw_only=True)
class Layout:
    text: Transformer = field(default_factory=lambda: CausalText(**SHAPE))
    decoder: Fusion = field(default_factory=Fusion)
    more: dict[str, Any] = field(default_factory=dict)

    def build(self, context: int = CONTEXT) -> Model:
        torch.manual_seed(0)
        towers = Towers(
            image=TimmImage(name="test_vit", size=SIZE), text=self.text, decoder=self.decoder, embedding=16, **self.more
        )
        needs = frozenset({"decoder", *({"fusion"} if "fusion" in self.more else set())})
        model = towers.build(VOCABULARY, context, needs).double().eval()
        assert model.image is not None
        for name, parameter in model.named_parameters():
            if not name.startswith("image."):
                torch.nn.init.normal_(parameter, std=0.4)
        return model


ROTARY = CausalText(**SHAPE, positions="rotary", mlp="swiglu")
BERT = BidirectionalText(**SHAPE)
FROM_WORDS = Fusion(start="embedding")

LAYOUTS = {
    "on top of the text tower (CoCa)": Layout(more={"tied": False, "image_queries": 3}),
    "on top, rotary and gated": Layout(text=ROTARY),
    "on top, pictures in the row": Layout(decoder=Fusion(image="joined")),
    "on top, rotary, pictures in the row": Layout(text=ROTARY, decoder=Fusion(image="joined", layers=1)),
    "beside the text tower, its weights": Layout(decoder=Fusion(start="embedding", shares="text")),
    "beside BERT": Layout(text=BERT, decoder=FROM_WORDS),
    "beside BERT, its weights but attention": Layout(
        text=BERT, decoder=Fusion(start="embedding", shares="text", own_attention=True)
    ),
    "beside BERT, pictures in the row": Layout(text=BERT, decoder=Fusion(start="embedding", image="joined")),
    "beside rotary BERT": Layout(text=BidirectionalText(**SHAPE, positions="rotary", segments=0), decoder=FROM_WORDS),
    "the fusion's weights (BLIP)": Layout(
        text=BERT,
        decoder=Fusion(start="embedding", shares="fusion", own_attention=True),
        more={"fusion": Fusion(start="embedding", shares="text")},
    ),
}
