"""The answers of the API; `app.py` has the contract that they keep."""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.faults import BadSample
from mmpretrain.serving.bodies import File
from mmpretrain.serving.refusal import Refused
from mmpretrain.serving.requests import (
    AnswerRequest,
    CaptionRequest,
    ClassifyRequest,
    EmbeddingsRequest,
    ExplainRequest,
    SearchRequest,
    WritingRequest,
    read,
    take_image,
)
from mmpretrain.serving.served import HeadFacts, Picture, Served
from mmpretrain.serving.work import Workshop

Tree = dict[str, Any]
Route = Callable[[Workshop, Tree], Awaitable[bytes]]
PLACES = ("{}", "{c}")
"""What stands for the label in a template."""
ANSWERS = ("question_answering", "answer_writing")
PNG = "data:image/png;base64,"
THUMBNAIL = 160
"""Pixels of the longer side."""


async def embeddings(shop: Workshop, tree: Tree) -> bytes:
    """Vectors of texts and pictures, in their order."""
    if isinstance(tree.get("input"), str | File | dict):
        tree["input"] = [tree["input"]]
    asked = read(EmbeddingsRequest, {**tree, "input": listed(tree, "input")})
    if not asked.input:
        raise Refused(422, "input: needs a text or a picture, or several")
    shop.require_few(len(asked.input), "input")
    served = shop.model(asked.model, "embeddings")
    inputs = [(f"input.{place}" if len(asked.input) > 1 else "input", plain(x)) for place, x in enumerate(asked.input)]
    texts = [(place, shop.text(x, field)) for place, (field, x) in enumerate(inputs) if not isinstance(x, File)]
    files = [(place, field, x.content) for place, (field, x) in enumerate(inputs) if isinstance(x, File)]
    vectors: dict[int, np.ndarray] = {}
    if texts:
        found = await shop.texts(served, [text for _, text in texts])
        vectors |= dict(zip([place for place, _ in texts], found, strict=True))
    if files:
        found = await shop.pictures(served, [content for _, _, content in files], [field for _, field, _ in files])
        vectors |= dict(zip([place for place, _, _ in files], found, strict=True))
    pictures = {place for place, _, _ in files}

    def encoded() -> bytes:
        data = [
            {
                "object": "embedding",
                "index": place,
                "kind": "image" if place in pictures else "text",
                "embedding": spelled(vectors[place], asked.encoding_format),
            }
            for place in range(len(inputs))
        ]
        tokens = served.tokens([text for _, text in texts]) if texts else 0
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return encode({"object": "list", "model": served.facts.name, "data": data, "usage": usage})

    return await shop.aside(encoded)


def listed(tree: Tree, field: str) -> list[Any]:
    found = tree.get(field, [])
    if not isinstance(found, list):
        raise Refused(422, f"{field}: a text, or a list of texts and pictures was expected")
    return found


def plain(given: Any) -> Any:
    """`{"text": ...}` and `{"image": ...}` as what they hold."""
    if isinstance(given, dict) and len(given) == 1 and next(iter(given)) in ("text", "image"):
        return next(iter(given.values()))
    return given


def spelled(vector_E: np.ndarray, form: str) -> Any:
    numbers = np.asarray(vector_E, dtype="<f4")
    return base64.b64encode(numbers.tobytes()).decode() if form == "base64" else numbers.tolist()


async def classify(shop: Workshop, tree: Tree) -> bytes:
    """The class of a picture: among labels by their words, or among those of a head."""
    content = take_image(tree, required=False)
    asked = read(ClassifyRequest, tree)
    if asked.labels:
        return await choose_label(shop, asked, content)
    served = shop.model(asked.model, "classes")
    head = one_head(shop, served, asked.head)
    picture = await seen(shop, served, head.sees, content)
    text = shop.text(asked.text, "text") if head.reads_text else ""
    probability_C = await shop.classify(served, head.name, picture, text)
    best = np.argsort(-probability_C, kind="stable")[: asked.top]
    classes = [{"label": head.classes[place], "probability": float(probability_C[place])} for place in best]
    return encode(
        {
            "model": served.facts.name,
            "kind": "head",
            "head": head.name,
            "several": head.several,
            "classes": classes,
        }
    )


async def seen(shop: Workshop, served: Served, sees: bool, content: bytes | None) -> Picture | None:
    """The picture of a request, where it is looked at."""
    if not sees:
        return None
    if content is None:
        raise Refused(422, "image: needs a picture, as data:image/png;base64,... or as a file of a form")
    return await shop.picture(served, content)


def one_head(shop: Workshop, served: Served, name: str) -> HeadFacts:
    heads = shop.heads(served, ["classification"], [name] if name else [], "head")
    if len(heads) > 1:
        raise Refused(
            422, f"head: {served.facts.name} has several; name one of {', '.join(each.name for each in heads)}"
        )
    return heads[0]


async def choose_label(shop: Workshop, asked: ClassifyRequest, content: bytes | None) -> bytes:
    served = shop.model(asked.model, "labels")
    labels = [shop.text(label, f"labels.{place}") for place, label in enumerate(asked.labels)]
    templates = [template_of(each, place) for place, each in enumerate(asked.templates)]
    if not templates:
        raise Refused(422, 'templates: needs one at least, as "a picture of {}"')
    shop.require_few(len(labels) * len(templates), "labels times templates")
    if len(set(labels)) < len(labels):
        raise Refused(422, "labels: one stands twice")
    if content is None:
        raise Refused(422, "image: needs a picture, as data:image/png;base64,... or as a file of a form")
    sentences = [shop.text(fill(each, label), "templates") for label in labels for each in templates]
    text_TE = await shop.texts(served, sentences)
    (image_E,) = await shop.pictures(served, [content], ["image"])
    score_C = class_vectors(text_TE, len(templates)) @ image_E.astype(np.float64)
    logit_C = served.scale() * score_C
    probability_C = np.exp(logit_C - logit_C.max())
    probability_C /= probability_C.sum()
    best = np.argsort(-score_C, kind="stable")[: asked.top]
    classes = [
        {"label": labels[place], "probability": float(probability_C[place]), "score": float(score_C[place])}
        for place in best
    ]
    return encode({"model": served.facts.name, "kind": "labels", "classes": classes})


def template_of(text: str, place: int) -> str:
    if not any(each in text for each in PLACES):
        raise Refused(422, f"templates.{place}: {text[:60]!r} has no {{}} where the label is to stand")
    return text


def fill(template: str, label: str) -> str:
    for each in PLACES:
        template = template.replace(each, label)
    return template


def class_vectors(text_TE: np.ndarray, templates: int) -> np.ndarray:
    """class_CE, fp64, of unit length: for each label the mean over its sentences (Radford et al. 2021)."""
    mean_CE = text_TE.astype(np.float64).reshape(-1, templates, text_TE.shape[1]).mean(axis=1)
    return np.asarray(mean_CE / np.maximum(np.linalg.norm(mean_CE, axis=1, keepdims=True), 1e-12))


async def caption(shop: Workshop, tree: Tree) -> bytes:
    """What is written about a picture."""
    content = take_image(tree)
    asked = read(CaptionRequest, tree)
    served = shop.model(asked.model, "caption")
    writing = way_of(served, asked, [])
    assert content is not None
    found = await shop.caption(served, await shop.picture(served, content), writing)
    return encode({"model": served.facts.name, "how": asked.how, "caption": found[0]["caption"], "captions": found})


def way_of(served: Served, asked: WritingRequest, heads: Sequence[HeadFacts]) -> Any:
    try:
        return served.writing(asked.how, asked.options(), heads)
    except ConfigError as error:
        raise Refused(422, str(error)) from None


async def answer(shop: Workshop, tree: Tree) -> bytes:
    """Answers to questions about a picture, of one head or several."""
    content = take_image(tree, required=False)
    asked = read(AnswerRequest, tree)
    questions = [asked.question, *asked.questions] if asked.question else asked.questions
    if not questions:
        raise Refused(422, "question: needs one; ask something about the picture")
    shop.require_few(len(questions), "questions")
    questions = [shop.text(question, "question") for question in questions]
    served = shop.model(asked.model, "answer")
    heads = shop.heads(served, ANSWERS, asked.heads, "heads")
    writers = [each for each in heads if each.kind == "answer_writing" and asked.answers == "written"]
    if asked.options() and not writers:
        raise Refused(422, f"{next(iter(asked.options()))}: none of these heads writes; leave it out")
    writing = way_of(served, asked, writers) if writers else None
    for head in heads:
        if head not in writers and not head.classes:
            raise Refused(422, f"answers: the card that {head.name} learned from lists none to rank; use written")
    picture = await seen(shop, served, any(head.sees for head in heads), content)
    found = []
    for head in heads:
        said = await shop.answer(served, head.name, picture, questions, writing if head in writers else None)
        found += [
            {"head": head.name, "question": question, "answers": best[: asked.top]}
            for question, best in zip(questions, said, strict=True)
        ]
    return encode({"model": served.facts.name, "answers": found})


async def search(shop: Workshop, tree: Tree) -> bytes:
    """Pictures of an index that are most like a text or a picture."""
    content = take_image(tree, required=False)
    asked = read(SearchRequest, tree)
    if bool(asked.text) == (content is not None):
        raise Refused(422, "text: give a text or an image to look for, one of them")
    served = shop.model(asked.model, "search")
    index = shop.index(served, asked.index)
    if content is None:
        (vector_E,) = await shop.texts(served, [shop.text(asked.text, "text")])
    else:
        (vector_E,) = await shop.pictures(served, [content], ["image"])
    hits = await shop.nearest(served, index, vector_E, asked.top)
    address = f"/v1/thumbnails/{quote(served.facts.name, safe='')}/{quote(index.name, safe='')}"
    found = [
        {**hit.facts, "place": hit.place, "score": hit.score, "thumbnail": f"{address}/{hit.place}"} for hit in hits
    ]
    return encode(
        {"model": served.facts.name, "index": index.name, "count": index.count, "source": index.source, "found": found}
    )


async def explain(shop: Workshop, tree: Tree) -> bytes:
    """Where a model looks for a text and its words."""
    content = take_image(tree)
    asked = read(ExplainRequest, tree)
    served = shop.model(asked.model, "explain")
    assert content is not None
    picture = await shop.picture(served, content)
    maps = await shop.explain(served, picture, shop.text(asked.text, "text"), asked.words)

    def encoded() -> bytes:
        found = [
            {"word": heat.text, "score": heat.score, "png": PNG + base64.b64encode(heat.overlay).decode()}
            for heat in maps
        ]
        return encode({"model": served.facts.name, "maps": found})

    return await shop.aside(encoded)


async def thumbnail(shop: Workshop, model: str, index: str, place: str) -> bytes:
    """A small PNG of a picture of an index."""
    served = shop.model(model, "search")
    found = shop.index(served, index)
    if not place.isascii() or not place.isdigit() or len(place) > 12 or int(place) >= found.count:
        raise Refused(404, f"thumbnail: {found.name} has the pictures 0 to {found.count - 1:,}")
    try:
        return await shop.aside(found.thumbnail, int(place), THUMBNAIL)
    except BadSample as bad:
        raise Refused(404, f"thumbnail: {bad.reason}: {bad.detail}") from None


def models(shop: Workshop) -> bytes:
    """What is served, and the limits of the server."""
    return encode({"object": "list", "data": [told(each) for each in shop.models.values()], "limits": limits(shop)})


def told(served: Served) -> dict[str, Any]:
    facts = served.facts
    return {
        "id": facts.name,
        "object": "model",
        "owned_by": "mmpretrain",
        "kind": facts.kind,
        "folder": facts.folder,
        "step": facts.step,
        "digest": facts.digest,
        "learned": list(facts.learned),
        "can": sorted(facts.can),
        "size": facts.size,
        "width": facts.width,
        "context": facts.context,
        "parameters": facts.parameters,
        "heads": [
            {
                "name": head.name,
                "kind": head.kind,
                "classes": list(head.classes),
                "several": head.several,
                "reads_text": head.reads_text,
            }
            for head in facts.heads
        ],
        "ways": list(facts.ways),
        "indexes": [
            {"name": each.name, "count": each.count, "source": each.source, "problem": each.problem}
            for each in served.indexes.values()
        ],
        **facts.more,
    }


def limits(shop: Workshop) -> dict[str, Any]:
    settings = shop.settings
    return {
        "inputs": settings.inputs,
        "text_characters": settings.text_characters,
        "body_megabytes": settings.body_megabytes,
        "megapixels": settings.megapixels,
        "seconds": settings.seconds,
    }


def encode(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass")


POSTS: dict[str, Route] = {
    "/v1/embeddings": embeddings,
    "/v1/classify": classify,
    "/v1/caption": caption,
    "/v1/answer": answer,
    "/v1/search": search,
    "/v1/explain": explain,
}
"""By address."""
