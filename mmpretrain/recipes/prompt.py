"""What texts are asked to be, against what the run has read: within its context, of words that it knows."""

from dataclasses import replace
from typing import Any

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.tokenizer import Tokenizer
from mmpretrain.heads.answer_writing import AnswerWritingLearner
from mmpretrain.heads.generation.base import Limits
from mmpretrain.heads.generation.write import Generation
from mmpretrain.objectives.captioning import CaptioningLearner


def within_context(generation: Generation, context: int) -> Generation:
    """No longer than the texts that the run has read.

    Raises:
        ConfigError: the least length does not fit in.
    """
    longest = min(generation.most_tokens, context - 1)
    if generation.least_tokens >= longest:
        raise ConfigError(
            f"least_tokens: {generation.least_tokens} tokens and an end do not fit into {longest}; the run's context "
            f"is {context} tokens, of which one starts the text; use fewer"
        )
    return replace(generation, most_tokens=longest)


def prompt_ids(limits: Limits, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids of the prompt, without start and end; none without a prompt.

    Raises:
        ConfigError: it leaves no room for another token.
    """
    if not limits.prompt.strip():
        return ()
    (tokens_L,), (mask_L,) = tokenizer([limits.prompt])
    ids = tuple(tokens_L[mask_L].tolist()[1:-1])
    room = min(limits.most_tokens, tokenizer.context_length - 1) - 1
    if tokenizer.cut([limits.prompt]) or len(ids) > room:
        raise ConfigError(
            f"prompt: {limits.prompt[:60]!r} is longer than {room} tokens, which leaves none to write (most_tokens is "
            f"{limits.most_tokens}, the run's context {tokenizer.context_length}); shorten it"
        )
    return ids


def unseen_words(limits: Limits, tokenizer: Tokenizer, module: Any) -> list[str]:
    """A sentence about words of the prompt that the vocabulary has not, or that no training text held, as far as the
    run knows that.
    """
    writers = (CaptioningLearner, AnswerWritingLearner)
    learner = next((each for each in module.objectives if isinstance(each, writers)), None)
    seen_S = None if learner is None else learner.seen_S
    seen = None if seen_S is None else set(seen_S.tolist())
    strange = [word for word in limits.prompt.split() if is_strange(word, tokenizer, seen)]
    if not strange:
        return []
    named = ", ".join(map(repr, dict.fromkeys(strange)))
    return [f"the prompt has words that the run never learned: {named}; what follows them may make little sense."]


def is_strange(word: str, tokenizer: Tokenizer, seen: set[int] | None) -> bool:
    (tokens_L,), (mask_L,) = tokenizer([word])
    ids = tokens_L[mask_L].tolist()[1:-1]
    return tokenizer.unknown_id in ids or (seen is not None and not seen.issuperset(ids))
