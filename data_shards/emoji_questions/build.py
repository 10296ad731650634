"""Make the shards beside this file: questions about the looks of emoji, from pinned packages of npm and Debian.

    pip install -e ".[shards]"
    python data_shards/emoji_questions/build.py                     # needs `npm` and apt-get
    python data_shards/emoji_questions/build.py --packages FOLDER   # where the four .tgz and the .deb are already

Of each picture of data_shards/emoji_full one question for each thing that code points and name say of it: skin tone,
gender, hair, colour, direction. Half of them ask for it ("what is the skin tone?"), half name one ("is the skin tone
dark?"), and of these half name another one, so that who does not look is right half of the time. Which it is, and
which of the phrasings, is drawn by the sample's key.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from mmpretrain.core.counter import name_to_int, seed_of
from mmpretrain.data.convert.members import to_json
from mmpretrain.data.writer import ShardWriter
from mmpretrain.recipes.sources.emoji_facts import COLOURS, GENDERS, NO_TONE, SOURCES, TONES, WAYS, Described, describe
from mmpretrain.recipes.sources.from_packages import main

EMOJI = Path(__file__).parents[1] / "emoji"
SIDE = 64


class Template(NamedTuple):
    """How a thing is asked for, and how one value of it is asked about."""

    values: tuple[str, ...]
    open: tuple[str, ...]
    closed: tuple[str, ...]


TEMPLATES = {
    "skin_tone": Template(
        (*TONES.values(), NO_TONE),
        ("what is the skin tone?", "which skin tone does the picture show?"),
        ("is the skin tone {v}?", "does the picture show the skin tone {v}?"),
    ),
    "gender": Template(
        GENDERS,
        ("is this a man, a woman or a person?", "who is this?"),
        ("is this a {v}?", "does the picture show a {v}?"),
    ),
    "hair": Template(
        ("red", "curly", "white", "blond", "bald"),
        ("what is the hair like?", "which hair is this?"),
        ("is the hair {v}?", "would you call the hair {v}?"),
    ),
    "colour": Template(
        (*COLOURS, "light blue"),
        ("what color is it?", "which color does it have?"),
        ("is it {v}?", "is the color {v}?"),
    ),
    "direction": Template(
        WAYS, ("which way does it point?", "where does it point?"), ("does it point {v}?", "is {v} where it points?")
    ),
}


class Question(NamedTuple):
    """A question about a picture and its answer."""

    key: str
    kind: str
    text: str
    answer: str


def ask(found: Described) -> Iterator[Question]:
    """One question for each thing that is known of the looks."""
    for attribute, value in found.attributes.items():
        template = TEMPLATES[attribute]
        key = f"{found.pair.drawing.key}-{attribute}"
        lots = [seed_of(name_to_int(f"emoji questions 1 {key}"), place) for place in range(4)]
        if lots[0] % 2:
            yield Question(key, f"which {attribute}", template.open[lots[1] % len(template.open)], value)
            continue
        others = [other for other in template.values if other != value]
        named = value if lots[2] % 2 else others[lots[3] % len(others)]
        text = template.closed[lots[1] % len(template.closed)].replace("{v}", named)
        yield Question(key, f"is {attribute}", text, "yes" if named == value else "no")


def members(found: Described, question: Question) -> dict[str, bytes]:
    """The names that VQAv2 has for these, beside the facts of the picture."""
    facts: dict[str, Any] = {
        "question_id": question.key,
        "image_id": found.pair.drawing.key,
        "question": question.text,
        "question_type": question.kind,
        "answer_type": "yes/no" if question.answer in ("yes", "no") else "other",
        "answer": question.answer,
        **found.facts,
    }
    return {"png": found.pair.png, "txt": question.text.encode(), "json": to_json(facts)}


def build(root: Path, out: Path) -> tuple[Counter[str], Counter[str]]:
    """Write one tar an artist and split; returns questions by split and what was left out by reason."""
    counts, left_out = Counter({"train": 0, "val": 0, "test": 0, "unseen": 0}), Counter[str]()
    writers: dict[str, ShardWriter] = {}
    with ExitStack() as stack:
        for found in describe(root, EMOJI, SIDE, left_out):
            name = f"{found.pair.drawing.artist.name}-{found.split}"
            if name not in writers:
                writers[name] = stack.enter_context(ShardWriter(out, name))
            for question in ask(found):
                writers[name].write(question.key, members(found, question))
                counts[found.split] += 1
    return counts, left_out


if __name__ == "__main__":
    main(__doc__, Path(__file__).parent, SOURCES, "questions", build)
