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
from mmpretrain.core.counter import name_to_int
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.captions import clean_caption
from mmpretrain.data.convert.picture import FilePicture
from mmpretrain.data.faults import BadSample
from mmpretrain.data.given import shown
from mmpretrain.data.images import decode_image
from mmpretrain.data.stages import stack
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.data.transforms import Centre
from mmpretrain.heads.answer_writing import AnswerWriting
from mmpretrain.heads.base import Head, predict
from mmpretrain.heads.generation.base import Task
from mmpretrain.heads.generation.write import Generation, write_answers
from mmpretrain.heads.question_answering import QuestionAnswering
from mmpretrain.recipes.alone import Alone, load_alone
from mmpretrain.recipes.combinations import refuse_unlisted, refuse_unwritten
from mmpretrain.recipes.looks import Facts, say
from mmpretrain.recipes.prompt import prompt_ids, unseen_words, within_context
from mmpretrain.recipes.settings import Pretrain, read_run
from mmpretrain.recipes.ways import build_generation
from mmpretrain.recipes.written import until_end

Answers = list[dict[str, Any]]
"""Answers to a question with their probabilities."""


def answer(
    folder: Path,
    picture: Path,
    questions: Sequence[str],
    head: str,
    top: int,
    console: Console,
    answers: str = "written",
    way: str = "greedy",
    **options: Any,
) -> Facts:
    """The likeliest answers to each question, or what is written behind it.

    Args:
        head: by name; empty: the only one that answers.
        top: answers of each question.
        answers: of a head that writes: written or listed.
        way: how it writes: greedy, beam or sample.
        options: settings of the way that differ from the defaults.

    Raises:
        ConfigError: the run does not answer questions, or not in this way.
        DataError: no picture, or an empty question.
    """
    config = read_run(folder)
    chosen = find_head(folder, config, head)
    generation = build_generation(way, options)
    refuse_other_ways(chosen, answers, generation)
    generation = within_context(generation, config.data.tokenizer.context_length)
    try:
        questions = [clean_caption(question) for question in questions]
    except BadSample as bad:
        raise DataError("an empty question has no answer; ask one") from bad
    image = read_picture(picture, config)
    alone = load_alone(folder, config)
    batch = about(image, questions, alone.tokenizer).to(alone.engine.device)
    if chosen.kind == "answer_writing" and answers == "written":
        for strange in unseen_words(generation, alone.tokenizer, alone.engine.module):
            say(console, f"note: {strange}")
        found = written(alone, chosen.called, batch, generation)
    else:
        found = likeliest(alone, chosen.called, batch)
    facts = [{"question": one, "answers": best[:top]} for one, best in zip(questions, found, strict=True)]
    console.print(table(str(picture), facts))
    return {"run": str(folder), "step": alone.step, "picture": str(picture), "questions": facts}


def refuse_other_ways(head: Head, answers: str, generation: Generation) -> None:
    """Raises ConfigError: the head does not write, or not in this way."""
    try:
        refuse_unwritten("--how", head, answers, generation)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def find_head(folder: Path, config: Pretrain, name: str) -> QuestionAnswering | AnswerWriting:
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


def about(image: Tensor, questions: Sequence[str], tokenizer: Tokenizer) -> Batch:
    """Each question with the picture."""
    return asked_about([(image, question) for question in questions], tokenizer)


def asked_about(rows: Sequence[tuple[Tensor, str]], tokenizer: Tokenizer) -> Batch:
    """Each picture with its question; what is drawn hangs on both, and not on the other rows."""
    tokens_BL, mask_BL = tokenizer([question for _, question in rows])
    keys = [name_to_int(image.numpy().tobytes() + question.encode()) for image, question in rows]
    positions_B = torch.tensor(keys)
    return Batch(
        images_BCHW=stack([image for image, _ in rows]),
        tokens_BL=tokens_BL,
        mask_BL=mask_BL,
        positions_B=positions_B,
        image_group_B=positions_B,
        text_group_B=positions_B,
        labels_B=torch.full_like(positions_B, -1),
    )


def likeliest(alone: Alone, head: str, batch: Batch) -> list[Answers]:
    """All classes, those first that the head finds likeliest."""
    learner: Any = next(each for each in alone.engine.module.objectives if each.name == head)  # type: ignore[union-attr]
    refuse_unlisted("--answers", head, learner.classes)
    with alone.engine.evaluating():
        (logits_BC,) = alone.engine.forward("ask", predict, batch, head)
    value_BC, place_BC = learner.probabilities(logits_BC).cpu().sort(dim=1, descending=True, stable=True)
    names = [[learner.classes[place] for place in place_C] for place_C in place_BC.tolist()]
    return [
        [{"answer": name, "probability": value} for name, value in zip(*pair, strict=True)]
        for pair in zip(names, value_BC.tolist(), strict=True)
    ]


def written(alone: Alone, head: str, batch: Batch, generation: Generation) -> list[Answers]:
    """What is written, the best first; texts of other tokens that read alike are one answer."""
    end, prompt = alone.tokenizer.ends[1], prompt_ids(generation, alone.tokenizer)
    # in lockstep a beam is filled, else it ends as soon as its best text is certain
    task = Task(start=end, end=end, positions_P=batch.positions_B, prompt=prompt, in_lockstep=True)
    with alone.engine.evaluating():
        found = alone.engine.forward("ask", write_answers, batch, head, task, generation)
    return [
        spelled_once([until_end(alone.tokenizer, tokens_L) for tokens_L in tokens_KL.cpu()], value_K.tolist())
        for tokens_KL, value_K in zip(found.tokens_PKL, found.log_probability_PK.exp(), strict=True)
    ]


def spelled_once(texts: Sequence[str], values: Sequence[float]) -> Answers:
    """Each text that could be written, with its whole probability."""
    total: dict[str, float] = {}
    for text, value in zip(texts, values, strict=True):
        if value:
            total[text] = total.get(text, 0.0) + value
    return [{"answer": text, "probability": value} for text, value in total.items()]


def table(picture: str, facts: Sequence[dict[str, Any]]) -> Table:
    """The likeliest answers of each question, with bars."""
    shown = Table("question", "answer", "probability", "", box=box.SIMPLE_HEAD, title=picture)
    for fact in facts:
        for place, each in enumerate(fact["answers"]):
            share = each["probability"]
            bar = "█" * round(20 * share)
            shown.add_row("" if place else fact["question"], each["answer"], f"{100 * share:.1f} %", bar)
    return shown
