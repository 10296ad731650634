"""What a card says of questions: which facts hold the answers, and which of them a classifier chooses from."""

from collections import Counter
from typing import Any

VOCABULARY = 3_129
"""Most frequent answers that become classes; the number of VQAv2's that occur more than 8 times (Teney et al. 2017)."""


class Asked:
    """The fields of a card, collected question by question."""

    def __init__(self) -> None:
        self._given: Counter[str] = Counter()
        self._common: set[str] | None = None

    def add(self, facts: dict[str, Any]) -> None:
        """Take the facts of one sample in."""
        self._common = set(facts) if self._common is None else self._common & set(facts)
        if isinstance(facts.get("answer"), str):
            self._given[facts["answer"]] += 1

    @property
    def fields(self) -> dict[str, Any]:
        """Empty where some sample is no question or has no answer."""
        named = self._common or set()
        answers = next((name for name in ("answers", "answer") if name in named), None)
        if "question" not in named or answers is None:
            return {}
        fields: dict[str, Any] = {"answers": answers}
        if "question_type" in named:
            fields["question_type"] = "question_type"
        if "answer" in named:
            frequent = sorted(self._given.items(), key=lambda pair: (-pair[1], pair[0]))
            fields |= {"label": "answer", "classes": [answer for answer, _ in frequent[:VOCABULARY]]}
        return fields
