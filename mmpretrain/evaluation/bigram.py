"""A bigram model: what a language model has to beat, from counts of the same training texts."""

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

DISCOUNT = 0.75


class Bigram:
    """p(word | word before it), interpolated with p(word) by absolute discounting (Ney, Essen and Kneser 1994).

    With counts c, words N(v) that were seen behind v, and d = 0.75:
        p(w | v) = max(c(v, w) - d, 0) / c(v) + d * N(v) / c(v) * p(w),  p(w) = (c(w) + 1) / (sum of c + V)

    Args:
        texts: token ids of the training texts, start and end tokens included.
        vocabulary: V, number of ids.
    """

    def __init__(self, texts: Iterable[Sequence[int]], vocabulary: int) -> None:
        self._pairs: Counter[tuple[int, int]] = Counter()
        words = np.zeros(vocabulary, dtype=np.int64)
        self._before = np.zeros(vocabulary, dtype=np.int64)
        for ids in texts:
            self._pairs.update(itertools.pairwise(ids))
            np.add.at(words, list(ids[1:]), 1)
            np.add.at(self._before, list(ids[:-1]), 1)
        self._word = (words + 1) / (words.sum() + vocabulary)
        self._followers = np.zeros(vocabulary, dtype=np.int64)
        for before, _ in self._pairs:
            self._followers[before] += 1

    def probability(self, before: int, word: int) -> float:
        seen = int(self._before[before])
        if not seen:
            return float(self._word[word])
        direct = max(self._pairs[before, word] - DISCOUNT, 0) / seen
        return direct + DISCOUNT * int(self._followers[before]) / seen * float(self._word[word])

    def losses(self, texts: Iterable[Sequence[int]]) -> np.ndarray:
        """-log p of every word behind the first of each text."""
        return np.array([-np.log(self.probability(v, w)) for ids in texts for v, w in itertools.pairwise(ids)])
