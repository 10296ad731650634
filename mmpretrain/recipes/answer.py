"""Questions about a picture that a person brings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from mmpretrain.core.batch import Batch
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.captions import clean_caption
from mmpretrain.data.convert.picture import FilePicture
from mmpretrain.data.faults import BadSample
from mmpretrain.data.given import shown
from mmpretrain.data.images import decode_image
from mmpretrain.data.stages import stack
from mmpretrain.data.transforms import Centre
from mmpretrain.heads.answer_writing import AnswerWriting
from mmpretrain.heads.base import Head, predict
from mmpretrain.heads.question_answering import QuestionAnswering
from mmpretrain.recipes.alone import Alone, load_alone
from mmpretrain.recipes.looks import Facts
from mmpretrain.recipes.settings import Pretrain, read_run


def answer(folder: Path, picture: Path, questions: Sequence[str], head: str, top: int, console: Console) -> Facts:
    """The likeliest answers to each question.

    Args:
        head: by name; empty: the only one that answers.
        top: answers of each question.

    Raises:
        ConfigError: the run does not answer questions.
        DataError: no picture, or an empty question.
    """
    config = read_run(folder)
    chosen = find_head(folder, config, head)
    try:
        questions = [clean_caption(question) for question in questions]
    except BadSample as bad:
        raise DataError("an empty question has no answer; ask one") from bad
    image = read_picture(picture, config)
    alone = load_alone(folder, config)
    probability_BC, classes = ask(alone, chosen.called, image, questions)
    facts = [
        {"question": question, "answers": likeliest(probability_C, classes, top)}
        for question, probability_C in zip(questions, probability_BC, strict=True)
    ]
    console.print(table(str(picture), facts))
    return {"run": str(folder), "step": alone.step, "picture": str(picture), "questions": facts}


def find_head(folder: Path, config: Pretrain, name: str) -> Head:
    """The head that answers.

    Raises:
        ConfigError: there is none, or there are several and none is named.
    """
    heads = {each.called: each for each in config.objectives if isinstance(each, QuestionAnswering | AnswerWriting)}
    if not heads:
        kinds = ", ".join(each.kind for each in config.objectives)
        raise ConfigError(
            f"{folder}: learned {kinds} and no answers; train one with question_answering: mmpretrain finetune easy_vqa"
        )
    if name and name not in heads:
        raise ConfigError(f"--head: {folder} has no head {name!r}{did_you_mean(name, heads)}")
    if not name and len(heads) > 1:
        raise ConfigError(f"--head: {folder} has several that answer; name one of {', '.join(heads)}")
    return heads[name or next(iter(heads))]


def read_picture(path: Path, config: Pretrain) -> Tensor:
    """Pixels as the run takes them, 3 x size x size; no picture where it reads none.

    Raises:
        DataError: it cannot be read.
    """
    limits = shown(config.data.limits.image)
    try:
        content = FilePicture(str(path.parent), path.name, True).read(limits.max_bytes)
        return Centre(max(1, config.towers.size))(decode_image(content, limits), 0)
    except BadSample as bad:
        raise DataError(f"{path}: {bad.reason}: {bad.detail}") from bad


def ask(alone: Alone, head: str, image: Tensor, questions: Sequence[str]) -> tuple[Tensor, Sequence[str]]:
    """Probabilities of the answers to choose from, questions x answers, and those answers."""
    learner: Any = next(each for each in alone.engine.module.objectives if each.name == head)  # type: ignore[union-attr]
    tokens_BL, mask_BL = alone.tokenizer(list(questions))
    rows_B = torch.zeros(len(questions), dtype=torch.int64)
    batch = Batch(
        images_BCHW=stack([image] * len(questions)),
        tokens_BL=tokens_BL,
        mask_BL=mask_BL,
        positions_B=rows_B,
        image_group_B=rows_B,
        text_group_B=rows_B,
        labels_B=rows_B - 1,
    )
    with alone.engine.evaluating():
        (logits_BC,) = alone.engine.forward("ask", predict, batch.to(alone.engine.device), head)
    probability_BC: Tensor = learner.probabilities(logits_BC).cpu()
    return probability_BC, learner.classes


def likeliest(probability_C: Tensor, classes: Sequence[str], top: int) -> list[dict[str, Any]]:
    values, places = probability_C.sort(descending=True, stable=True)
    pairs = zip(places[:top].tolist(), values[:top].tolist(), strict=True)
    return [{"answer": classes[place], "probability": value} for place, value in pairs]


def table(picture: str, facts: Sequence[dict[str, Any]]) -> Table:
    """The likeliest answers of each question, with bars."""
    shown = Table("question", "answer", "probability", "", box=box.SIMPLE_HEAD, title=picture)
    for fact in facts:
        for place, each in enumerate(fact["answers"]):
            share = each["probability"]
            bar = "█" * round(20 * share)
            shown.add_row("" if place else fact["question"], each["answer"], f"{100 * share:.1f} %", bar)
    return shown
