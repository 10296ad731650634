"""What requests are answered with: pictures prepared, vectors remembered, models asked in batches."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.settings import did_you_mean
from mmpretrain.data.captions import clean_caption
from mmpretrain.data.faults import BadSample
from mmpretrain.serving.batching import Batcher
from mmpretrain.serving.cache import Cache, key_of
from mmpretrain.serving.metrics import Metrics
from mmpretrain.serving.refusal import Refused
from mmpretrain.serving.served import Ability, Answers, HeadFacts, Heat, Hit, Index, Picture, Served
from mmpretrain.serving.settings import Serving

T = TypeVar("T")
SAID = {
    "embeddings": "gives no vectors of texts and pictures",
    "labels": "has no space that pictures and words share, so it cannot choose among labels",
    "classes": "has no classes of its own; give labels",
    "caption": "writes no captions",
    "answer": "answers no questions",
    "search": "has no index to search",
    "explain": "cannot say where in a picture it looks",
}
TOO_LARGE = frozenset({"large_image", "large_caption"})
PREPARING = 2
"""Pictures decoded at a time."""


class Workshop:
    """Models by name, and the two kinds of threads that work for the event loop."""

    def __init__(self, models: Sequence[Served], settings: Serving, metrics: Metrics) -> None:
        self.models: dict[str, Served] = {each.facts.name: each for each in models}
        self.settings = settings
        self.metrics = metrics
        self.cache = Cache(int(settings.cache_megabytes * 1e6))
        self.batcher = Batcher(settings.batch, settings.wait_ms / 1000, settings.queue, metrics.batch)
        self._preparing = ThreadPoolExecutor(PREPARING, "prepare")

    async def close(self, seconds: float) -> None:
        """Args: seconds: that what waits for the models may still take."""
        await self.batcher.close(seconds)
        self._preparing.shutdown(wait=False, cancel_futures=True)

    # -- whom to ask

    def model(self, name: str, *abilities: Ability) -> Served:
        """The model of that name, or the first with one of the abilities.

        Raises:
            Refused: 404: there is none, or it never learned that; names those that did.
        """
        able = [each for each in self.models.values() if each.facts.can & set(abilities)]
        names = [each.facts.name for each in able]
        if name and name not in self.models:
            raise Refused(404, f"model: no {name[:60]!r} is served{did_you_mean(name[:60], self.models)}")
        found = self.models.get(name) or next(iter(able), None) or next(iter(self.models.values()))
        if found not in able:
            learned = ", ".join(found.facts.learned)
            remedy = f"ask {' or '.join(names)}" if names else "no model that is served here does"
            what = " and ".join(SAID[ability] for ability in abilities)
            raise Refused(404, f"{found.facts.name}: learned {learned} and {what}; {remedy}", {"models": names})
        return found

    def heads(self, served: Served, kinds: Sequence[str], named: Sequence[str], field: str) -> list[HeadFacts]:
        """Those of the names, or all of the kinds.

        Raises:
            Refused: 404: no such head.
        """
        there = {head.name: head for head in served.facts.heads if head.kind in kinds}
        for name in named:
            if name not in there:
                raise Refused(404, f"{field}: {served.facts.name} has no {name[:60]!r}{did_you_mean(name[:60], there)}")
        return [there[name] for name in dict.fromkeys(named or there)]

    def index(self, served: Served, name: str) -> Index:
        """Of a model.

        Raises:
            Refused: 404: no such index, or several and none is named; 409: it is of other weights.
        """
        there = served.indexes
        if name and name not in there:
            raise Refused(404, f"index: {served.facts.name} has no {name[:60]!r}{did_you_mean(name[:60], there)}")
        if not name and len(there) > 1:
            raise Refused(422, f"index: {served.facts.name} has several; name one of {', '.join(there)}")
        found = there[name or next(iter(there))]
        if found.problem:
            raise Refused(409, found.problem)
        return found

    # -- off the event loop

    async def aside(self, work: Callable[..., T], *arguments: Any) -> T:
        """In a thread that prepares requests and answers."""
        return await asyncio.get_running_loop().run_in_executor(self._preparing, work, *arguments)

    async def picture(self, served: Served, content: bytes, field: str = "image") -> Picture:
        """Prepared.

        Raises:
            Refused: 413: too large; 422: no picture.
        """
        try:
            return await self.aside(served.prepare, content, int(self.settings.megapixels * 1e6))
        except BadSample as bad:
            raise refused(field, bad) from None

    def text(self, text: Any, field: str) -> str:
        """Cleaned as captions are.

        Raises:
            Refused: it is empty, no text, or too long.
        """
        if not isinstance(text, str):
            raise Refused(422, f"{field}: a text was expected, or a picture as a data URL")
        if len(text) > self.settings.text_characters:
            longest = self.settings.text_characters
            raise Refused(413, f"{field}: {len(text):,} characters are more than {longest:,}; send less")
        try:
            return clean_caption(text)
        except BadSample:
            raise Refused(422, f"{field}: is empty; write something") from None

    def require_few(self, count: int, field: str) -> None:
        """Raises Refused: more than one request may ask."""
        if count > self.settings.inputs:
            raise Refused(413, f"{field}: {count:,} are more than {self.settings.inputs:,}; send several requests")

    # -- the models

    async def texts(self, served: Served, texts: Sequence[str]) -> np.ndarray:
        """Vectors, remembered ones without the model."""
        keys = [self._key(served, b"text", text.encode()) for text in texts]
        return await self._vectors(served, "embed_texts", keys, texts)

    async def pictures(self, served: Served, contents: Sequence[bytes], fields: Sequence[str]) -> np.ndarray:
        """Vectors; what is remembered is not even decoded."""
        keys = [self._key(served, b"picture", content) for content in contents]
        known = [self.cache.get(key) for key in keys]
        missing = [place for place, vector in enumerate(known) if vector is None]
        pictures = [await self.picture(served, contents[place], fields[place]) for place in missing]
        found = await self._ask(served, "embed_pictures", served.embed_pictures, pictures)
        return self._joined(keys, known, missing, found)

    async def _vectors(self, served: Served, name: str, keys: list[bytes], rows: Sequence[Any]) -> np.ndarray:
        known = [self.cache.get(key) for key in keys]
        missing = [place for place, vector in enumerate(known) if vector is None]
        found = await self._ask(served, name, getattr(served, name), [rows[place] for place in missing])
        return self._joined(keys, known, missing, found)

    def _joined(
        self, keys: list[bytes], known: list[np.ndarray | None], missing: list[int], found: list[np.ndarray]
    ) -> np.ndarray:
        for place, vector in zip(missing, found, strict=True):
            known[place] = vector
            self.cache.put(keys[place], vector)
        return np.stack([vector for vector in known if vector is not None])

    def _key(self, served: Served, kind: bytes, content: bytes) -> bytes:
        return key_of([served.facts.folder.encode(), served.facts.digest.encode(), kind, content])

    async def classify(self, served: Served, head: str, picture: Picture | None, text: str) -> np.ndarray:
        """Probabilities of a head's classes."""
        (found,) = await self._ask(
            served, ("classify", head), lambda rows: served.classify(head, rows), [(picture, text)]
        )
        return np.asarray(found)

    async def caption(self, served: Served, picture: Picture, writing: Any) -> Answers:
        (found,) = await self._ask(served, ("caption", writing), lambda rows: served.caption(rows, writing), [picture])
        answers: Answers = found
        return answers

    async def answer(
        self, served: Served, head: str, picture: Picture | None, questions: Sequence[str], writing: Any
    ) -> list[Answers]:
        rows = [(picture, question) for question in questions]
        return await self._ask(served, ("answer", head, writing), lambda rows: served.answer(head, rows, writing), rows)

    async def explain(self, served: Served, picture: Picture, text: str, words: bool) -> list[Heat]:
        def look(rows: list[Any]) -> list[list[Heat]]:
            return [served.explain(row, text, words) for row in rows]

        (found,) = await self._ask(served, ("explain", text, words), look, [picture])
        maps: list[Heat] = found
        return maps

    async def nearest(self, served: Served, index: Index, vector_E: np.ndarray, count: int) -> list[Hit]:
        """In the thread of the models, for it works as hard."""

        def look(rows: list[Any]) -> list[list[Hit]]:
            return [index.nearest(row, count) for row in rows]

        (found,) = await self._ask(served, ("nearest", index.name, count), look, [vector_E])
        hits: list[Hit] = found
        return hits

    async def _ask(self, served: Served, what: Any, work: Callable[[list[Any]], Any], rows: Sequence[Any]) -> list[Any]:
        if not rows:
            return []
        try:
            return await self.batcher.do((served.facts.name, what), work, rows)
        except MmpretrainError as error:
            raise Refused(422, str(error)) from None


def refused(field: str, bad: BadSample) -> Refused:
    """What is wrong with a picture or a text of a request."""
    return Refused(413 if bad.reason in TOO_LARGE else 422, f"{field}: {bad.reason}: {bad.detail}")
