"""A text tower that learns from a frozen one beside it: what is computed, and what the teacher is no part of."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mmpretrain.conformance.toy import LENGTH, VOCABULARY, toy_batch
from mmpretrain.core.errors import ConfigError
from mmpretrain.objectives import imitation
from mmpretrain.objectives.base import Surroundings
from mmpretrain.objectives.combine import TrainingModule
from mmpretrain.objectives.masked_language import MaskedLanguage
from mmpretrain.objectives.text_distillation import TextDistillation, TextDistillationLearner, looked_at
from mmpretrain.objectives.text_teacher import TextTeacher
from mmpretrain.objectives.words import WordHead
from mmpretrain.towers.model import Towers
from mmpretrain.towers.text import BidirectionalText, CausalText

WORDS = frozenset({"words"})
STUDENT = {"width": 16, "layers": 2, "heads": 2}
TEACHER = {"width": 24, "layers": 4, "heads": 4}


def teacher_of(**shape: Any) -> TextTeacher:
    """Of random weights, another one than the student's."""
    torch.manual_seed(1)
    settings = {**TEACHER, **shape}
    tower = (CausalText if settings.pop("causal", False) else BidirectionalText)(**settings).build(VOCABULARY, LENGTH)
    head = WordHead(tower.width, VOCABULARY)
    return TextTeacher(tower, "runs/teacher", head=head, mask_D=torch.randn(tower.width))


def module_of(
    *settings: Any, teacher: TextTeacher | None = None, student: Any = None, sources: tuple[str, ...] = ()
) -> TrainingModule:
    teacher = teacher or teacher_of()
    torch.manual_seed(0)
    model = Towers(text=student or BidirectionalText(**STUDENT)).build(VOCABULARY, LENGTH, WORDS)
    around = Surroundings(model=model, text_teacher=teacher, sources=sources)
    return TrainingModule(model, settings, around).double()


def distillation(**chosen: Any) -> TextDistillation:
    return TextDistillation(teacher="runs/teacher", **chosen)


def share(module: TrainingModule, batch: Any = None) -> Tensor:
    batch = toy_batch() if batch is None else batch
    total: Tensor = module("live", batch, module.count(batch)).total
    return total


def alone(module: TrainingModule) -> TextDistillationLearner:
    return next(each for each in module.objectives if isinstance(each, TextDistillationLearner))


# -- what is computed -------------------------------------------------------------------------------------


def test_the_share_is_the_weighted_sum_of_means_over_the_tokens() -> None:
    chosen = distillation(
        hidden=2.0,
        attention=3.0,
        layers=[(0, 0), (1, 2), (2, 4)],
        relations=5.0,
        relation_heads=8,
        relation_layers=(2, 3),
    )
    teacher = teacher_of(heads=2)
    module, batch = module_of(chosen, teacher=teacher), toy_batch()
    ours = module.model.text.trace(batch.tokens_BL, batch.mask_BL, heads_of={1, 2})
    theirs = teacher.tower.trace(batch.tokens_BL, batch.mask_BL, heads_of={2, 3, 4})
    mask_BL, seen_BQL = batch.mask_BL, looked_at(batch.mask_BL, False)
    expected = torch.zeros((), dtype=torch.float64)
    for own_map, (mine, other) in zip(alone(module).maps, chosen.layers, strict=True):
        mapped_ND = ours.states[mine][mask_BL] @ own_map.weight.T
        expected += 2 * imitation.squared_distances(mapped_ND, theirs.states[other][mask_BL])
    for mine, other in ((1, 2), (2, 4)):
        expected += 3 * imitation.attention_distances(ours.heads[mine], theirs.heads[other], seen_BQL, mask_BL)
    for part in range(3):
        pairs = [imitation.regroup(trace.heads[layer][part], 8) for trace, layer in ((ours, 2), (theirs, 3))]
        expected += 5 * imitation.relation_divergence(*((pair, pair) for pair in pairs), seen_BQL, mask_BL)
    torch.testing.assert_close(share(module), expected / mask_BL.sum(), rtol=1e-10, atol=0)


def test_soft_targets_are_of_texts_with_the_words_hidden_that_masked_language_asks_for() -> None:
    teacher = teacher_of(width=16)
    words = MaskedLanguage(share=0.4, weight=1e-9)
    module = module_of(words, distillation(logits=2.0, cosine=1.0, temperature=3.0), teacher=teacher)
    batch = toy_batch()
    learner = module.objectives[0]
    masked, replacement = learner.corrupt(batch, learner.texts(batch))
    assert masked.hidden_BL.any()
    asked = masked.texts.tokens_BL, batch.mask_BL
    ours_BLD = module.model.text(*asked, replacement=replacement)[0]
    theirs_BLD = teacher.tower(*asked, replacement=replacement._replace(vector_D=teacher.mask_D))[0]
    ours_ND, theirs_ND = ours_BLD[batch.mask_BL], theirs_BLD[batch.mask_BL]
    guesses = (
        module.objectives[0].head(ours_ND, None, module.model.text.embedding.token),
        teacher.logits(theirs_ND, None),
    )
    expected = 2 * imitation.soft_targets(*guesses, 3.0) + imitation.cosine_distances(ours_ND, theirs_ND)
    torch.testing.assert_close(share(module), expected / batch.mask_BL.sum(), rtol=1e-6, atol=0)


def test_words_that_training_never_saw_are_left_out_of_soft_targets() -> None:
    teacher, seen_S = teacher_of(width=16), torch.arange(0, VOCABULARY, 3)
    torch.manual_seed(0)
    model = Towers(text=BidirectionalText(**STUDENT)).build(VOCABULARY, LENGTH, WORDS)
    around = Surroundings(model=model, text_teacher=teacher, seen_S=seen_S)
    settings = [MaskedLanguage(words="seen", weight=1e-9), distillation(logits=1.0)]
    module, batch = TrainingModule(model, settings, around).double(), toy_batch()
    student, taught = alone(module).read(model.text, teacher, batch)
    guesses = [
        head(trace.states[-1][batch.mask_BL], None, table)[:, seen_S]
        for head, trace, table in (
            (module.objectives[0].head, student, model.text.embedding.token),
            (teacher.head, taught, teacher.tower.embedding.token),
        )
    ]
    expected = imitation.soft_targets(*guesses, 2.0) / batch.mask_BL.sum()
    torch.testing.assert_close(share(module), expected, rtol=1e-6, atol=0)


def test_rows_of_other_sources_are_read_and_not_asked() -> None:
    chosen = distillation(hidden=1.0, layers=[(2, 4)], relations=1.0, relation_heads=2, sources=["b"])
    module, batch = module_of(chosen, sources=("a", "b")), toy_batch(sources=2)
    only_b = module_of(replace(chosen, sources=[]))
    rows = batch.source_B == 1
    fewer = replace(toy_batch(), tokens_BL=batch.tokens_BL[rows], mask_BL=batch.mask_BL[rows])
    fewer = replace(fewer, positions_B=batch.positions_B[rows], source_B=None)
    torch.testing.assert_close(share(module, batch), share(only_b, fewer), rtol=1e-10, atol=0)


def test_a_causal_students_tokens_relate_to_those_before_them() -> None:
    chosen, teacher = distillation(relations=1.0, compared=["query_key"]), teacher_of(causal=True, heads=2)
    module, batch = module_of(chosen, teacher=teacher, student=CausalText(**STUDENT)), toy_batch()
    towers = (module.model.text, 2), (teacher.tower, 4)
    pairs = [tower.trace(batch.tokens_BL, batch.mask_BL, heads_of={last}).heads[last][:2] for tower, last in towers]
    seen_BQL = batch.mask_BL[:, None] & torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
    expected = imitation.relation_divergence(*pairs, seen_BQL, batch.mask_BL) / batch.mask_BL.sum()
    torch.testing.assert_close(share(module), expected, rtol=1e-10, atol=0)


def test_in_bf16_terms_are_still_compared_in_fp32() -> None:
    chosen = distillation(logits=1.0, hidden=1.0, attention=1.0, layers=[(0, 0), (1, 2)], relations=1.0)
    module = module_of(MaskedLanguage(), chosen, teacher=teacher_of(width=16, heads=2)).float()
    expected = share(module)
    with torch.autocast("cpu", torch.bfloat16):
        found = share(module)
    assert found.dtype == torch.float32
    assert found.item() != expected.item()
    assert found.item() == pytest.approx(expected.item(), rel=1e-2)


@pytest.mark.parametrize(
    "chosen",
    [
        {"cosine": 1.0},
        {"hidden": 1.0, "layers": [(1, 1), (2, 2)]},
        {"attention": 1.0, "layers": [(1, 1), (2, 2)]},
        {"relations": 1.0},
    ],
    ids=lambda chosen: next(iter(chosen)),
)
def test_a_student_comes_nearer_to_its_teacher(chosen: dict) -> None:
    module = module_of(distillation(**chosen), teacher=teacher_of(**STUDENT))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = share(module)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0], losses


# -- what the teacher is no part of -----------------------------------------------------------------------


def test_the_teacher_is_neither_stored_nor_trained_nor_switched_to_training() -> None:
    teacher = teacher_of(dropout=0.5)
    module = module_of(distillation(hidden=1.0, layers=[(1, 2)]), teacher=teacher)
    assert {name for name in module.state_dict() if name.startswith("objectives.")} == {"objectives.0.maps.0.weight"}
    own = {id(each) for each in (*teacher.parameters(), *teacher.buffers(), *teacher.modules())}
    assert not own & {id(each) for each in (*module.parameters(), *module.buffers(), *module.modules())}
    module.train()
    assert not any(each.training for each in teacher.modules())
    assert share(module).item() == share(module).item()  # its dropout is off
    before = [parameter.clone() for parameter in teacher.parameters()]
    share(module).backward()
    torch.optim.SGD(module.parameters(), lr=1.0).step()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(map(torch.equal, before, teacher.parameters()))


def test_the_teacher_follows_the_module_to_other_devices_and_numbers() -> None:
    teacher = teacher_of()
    module = module_of(distillation(hidden=1.0, layers=[(1, 2)]), teacher=teacher)
    assert {parameter.dtype for parameter in teacher.parameters()} == {torch.float64}
    module.to("meta")
    assert {each.device.type for each in (*teacher.parameters(), *teacher.buffers())} == {"meta"}


def test_the_students_draws_are_the_same_with_and_without_a_teacher() -> None:
    """A teacher that drew numbers would change the student's dropout."""
    words = MaskedLanguage()
    student = BidirectionalText(**STUDENT, dropout=0.3)
    losses = []
    for settings in ([words], [words, distillation(relations=1e-9, relation_heads=2)]):
        module, batch = module_of(*settings, student=student), toy_batch()
        torch.manual_seed(3)
        losses.append(float(module("live", batch, module.count(batch)).metrics["masked_language/loss"]))
    assert losses[0] == losses[1]


def test_all_parameters_take_part_also_behind_the_layers_that_are_compared() -> None:
    """Of the last block, relations look at queries, keys and values alone; engines want a gradient of everything."""
    module = module_of(distillation(relations=1.0, relation_heads=2))
    share(module).backward()
    silent = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert silent == []
    unmoved = [name for name, parameter in module.named_parameters() if not parameter.grad.any()]
    assert unmoved
    assert all(name.startswith("model.text.blocks.1.") for name in unmoved)


def test_evaluation_asks_nothing_and_needs_no_teacher() -> None:
    torch.manual_seed(0)
    model = Towers(text=BidirectionalText(**STUDENT)).build(VOCABULARY, LENGTH, WORDS)
    settings = [MaskedLanguage(), distillation(hidden=1.0, layers=[(1, 2)], logits=1.0)]
    module = TrainingModule(model, settings, Surroundings(model=model)).double().eval()
    found = module("measure", toy_batch())
    assert found.keys() == {"masked_language/loss", "masked_language/accuracy"}


# -- a student that begins as its teacher -----------------------------------------------------------------


def test_a_student_begins_as_blocks_of_its_teacher_and_with_all_of_them_as_the_teacher() -> None:
    teacher = teacher_of(**STUDENT | {"layers": 3})
    text = module_of(distillation(cosine=1.0, start=[3, 1]), teacher=teacher)
    alone(text).begin(text.model.text)
    own, theirs = text.model.text.blocks, teacher.tower.blocks
    for mine, block in ((own[0], theirs[2]), (own[1], theirs[0])):
        assert all(torch.equal(mine.state_dict()[name], value.double()) for name, value in block.state_dict().items())
    whole = module_of(
        MaskedLanguage(),
        distillation(logits=1.0, start=[1, 2, 3]),
        teacher=teacher,
        student=BidirectionalText(**STUDENT | {"layers": 3}),
    )
    begun = alone(whole).begin(whole.model.text)
    assert {id(weight) for weight in begun} == {
        id(weight) for part in (whole.model.text, whole.objectives[0]) for weight in part.parameters()
    }
    assert share_of_guesses(whole, teacher) < 1e-9


def share_of_guesses(module: TrainingModule, teacher: TextTeacher) -> float:
    """How far the student's guesses of hidden words are from the teacher's."""
    words, batch = module.objectives[0], toy_batch()
    masked, hidden = words.corrupt(batch, words.texts(batch))
    x_BLD = words.read(module.model, None, masked, hidden)
    theirs_BLD = teacher.trace(masked.texts.tokens_BL, batch.mask_BL, masked.hidden_BL).states[-1]
    mask_BL = batch.mask_BL
    distance = words.logits(module.model)(x_BLD[mask_BL], None) - teacher.logits(theirs_BLD[mask_BL], None)
    return float(distance.detach().abs().max())


UNFIT_STARTS: list[tuple[list[int], dict, str]] = [
    ([1, 4], STUDENT | {"layers": 3}, "start: runs/teacher has 3 layers and no layer 4"),
    ([1], STUDENT, r"names 1 blocks, and the student has 2; set towers.text.layers to 1"),
    ([1, 2], {}, r"runs/teacher has 4 heads, its student 2; set towers.text.heads to 4"),
    ([1, 2], {"heads": 2}, r"embedding.position_LD is \[\d+, 16\] in the student and \[\d+, 24\]"),
    ([1, 2], STUDENT | {"norm": "pre"}, "has no embedding.norm.weight; give towers.text its kind"),
]


@pytest.mark.parametrize(("start", "shape", "said"), UNFIT_STARTS, ids=[said[:40] for *_, said in UNFIT_STARTS])
def test_a_start_that_does_not_fit_is_refused_by_name(start: list[int], shape: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        module_of(distillation(logits=1.0, start=start), MaskedLanguage(), teacher=teacher_of(**shape))


# -- what does not fit ------------------------------------------------------------------------------------

UNFIT: list[tuple[dict, dict, str]] = [
    ({"cosine": 1.0}, {}, "runs/teacher is 24 channels wide, its student 16; use hidden"),
    ({"hidden": 1.0, "layers": [(1, 5)]}, {}, "layers: runs/teacher has 4 layers and no layer 5"),
    ({"relations": 1.0, "relation_layers": (1, 5), "relation_heads": 2}, {}, "relation_layers: .* no layer 5"),
    ({"attention": 1.0, "layers": [(1, 2)]}, {}, "runs/teacher has 4 heads, its student 2; give it as many"),
    ({"relations": 1.0}, {}, "relation_heads: .* a divisor of the widths 24 and 16"),
    ({"relations": 1.0, "relation_heads": 16}, {}, "24 channels of runs/teacher do not divide by 16"),
    ({"relations": 1.0, "relation_heads": 2}, {"causal": True}, r"reads from left to right .* its student both ways"),
]


@pytest.mark.parametrize(("chosen", "shape", "said"), UNFIT, ids=[said[:40] for *_, said in UNFIT])
def test_a_teacher_that_cannot_be_compared_is_refused_by_name(chosen: dict, shape: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        module_of(distillation(**chosen), teacher=teacher_of(**shape))


def test_guesses_that_the_teacher_has_not_learned_are_refused() -> None:
    teacher = teacher_of(width=16)
    settings = MaskedLanguage(), distillation(logits=1.0)
    teacher.seen_only = True
    with pytest.raises(ConfigError, match="set words=seen of masked_language"):
        module_of(*settings, teacher=teacher)
    teacher.seen_only, teacher.mask_D = False, None
    with pytest.raises(ConfigError, match="has not learned to guess hidden words"):
        module_of(*settings, teacher=teacher)
    teacher.head, teacher.mask_D = None, torch.zeros(16)
    with pytest.raises(ConfigError, match="has not learned to guess hidden words"):
        module_of(*settings, teacher=teacher)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, "learns nothing; give one of logits, cosine"),
        ({"hidden": 1.0}, "compare layers; name them"),
        ({"cosine": 1.0, "layers": [(1, 1)]}, "neither hidden nor attention has a weight"),
        ({"hidden": 1.0, "layers": [(0, 2)]}, r"write \[0, 0\]"),
        ({"attention": 1.0, "layers": [(0, 0)]}, "embeddings have no attention"),
        ({"relations": 1.0, "compared": []}, "compared: is empty"),
    ],
)
def test_settings_that_say_nothing_are_refused(chosen: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        distillation(**chosen)
