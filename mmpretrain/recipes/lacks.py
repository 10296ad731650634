"""What heads cannot learn, because the training data hold no example of it: told before the first step."""

from collections import Counter
from collections.abc import Iterable, Sequence

from mmpretrain.data.samples import Reading, Texts
from mmpretrain.heads.classification import Classification
from mmpretrain.heads.question_answering import QuestionAnswering
from mmpretrain.recipes.assemble import Parts
from mmpretrain.recipes.data_facts import draw_texts

READ = 50_000
"""Most samples of each source that are read, in some seconds; of larger ones a drawn part."""
NAMED = 5
"""Classes or answers that a line names."""


def lacks_of(parts: Parts) -> list[str]:
    """A line for each head that lacks something."""
    sources = dict(zip((part.name for part in parts.data.settings.parts), parts.data.datasets, strict=True))
    reading, told = Reading(limits=parts.config.data.limits), []
    for head in parts.config.objectives:
        if not isinstance(head, Classification | QuestionAnswering):
            continue
        chosen = [sources[name] for name in head.sources or sources if sources[name].shards]
        texts = [text for dataset in chosen for text in draw_texts(dataset, reading, READ)]
        classes = parts.labels[head.called].classes
        if isinstance(head, QuestionAnswering):
            told += unanswerable(head.called, texts, classes)
        # of a large set rare classes may stand where nobody looked
        elif chosen and all(len(dataset) <= READ for dataset in chosen):
            told += without_pictures(head.called, texts, classes)
    return told


def without_pictures(head: str, texts: Iterable[Texts], classes: Sequence[str]) -> list[str]:
    """Classes that no sample has."""
    there = {place for text in texts for place in (text.label, *text.labels)}
    missing = [name for place, name in enumerate(classes) if place not in there]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(classes)} classes have no example to learn from: {some(missing)}; {head} will not "
        "name them: add samples, or take them out of `classes` in dataset.yaml"
    ]


def unanswerable(head: str, texts: Sequence[Texts], classes: Sequence[str]) -> list[str]:
    """Questions of whose answers none is among the classes."""
    known = set(classes)
    outside = Counter(text.answers[0] for text in texts if text.answers and not known & set(text.answers))
    if not outside:
        return []
    frequent = [answer for answer, _ in outside.most_common(NAMED)]
    return [
        f"{outside.total():,} of {len(texts):,} questions looked at have no answer among the {len(classes):,} that "
        f"{head} chooses from, such as {some(frequent)}; nothing is learned from them"
    ]


def some(names: Sequence[str]) -> str:
    """The first few."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(map(repr, names[:NAMED]))}{more}"
