"""Captions that speak of what is to be learnt: after DataComp's `text_based`, with words for WordNet synsets."""

from pathlib import Path
from typing import Literal

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import settings
from mmpretrain.data.card import Card
from mmpretrain.data.filters.base import Candidate, Pool, Rule
from mmpretrain.data.fingerprints import normalise_caption


@settings
class TextBased:
    """Whole words and phrases; case and signs do not count."""

    kind: Literal["text_based"] = "text_based"
    words: str | None = None
    """File with one word or phrase a line; None takes the card's descriptions, and names of classes without any."""

    def build(self, pool: Pool) -> Rule:
        phrases = {normalise_caption(text) for text in self._texts(pool.card)} - {""}
        longest = max(len(phrase.split()) for phrase in phrases)

        def judge(candidate: Candidate) -> str | None:
            words = normalise_caption(candidate.caption).split()
            runs = (
                " ".join(words[start : start + length])
                for length in range(1, longest + 1)
                for start in range(len(words) - length + 1)
            )
            return None if any(run in phrases for run in runs) else "no_known_word"

        return judge

    def _texts(self, card: Card) -> list[str]:
        if self.words is None:
            found = [text for name in card.classes for text in card.descriptions.get(name, [name])]
            if not found:
                raise ConfigError(
                    "text_based.words: the card names no classes; give a file with a word or phrase a line"
                )
            return found
        try:
            lines = Path(self.words).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"text_based.words: {self.words} cannot be read as text: {error}") from error
        found = [line.strip() for line in lines if line.strip()]
        if not found:
            raise ConfigError(f"text_based.words: {self.words} holds no words")
        return found
