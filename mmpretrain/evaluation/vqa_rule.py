"""When an answer to a question counts as right: VQAv2's own rule (Antol et al. 2015, arXiv 1505.00468; Goyal et al.
2017, arXiv 1612.00837; the behaviour of GT-Vision-Lab/VQA, vqaEval.py, is the definition of its details).
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

PEOPLE = 10
"""Who answered each question of VQAv2."""
AGREED = 3
"""People who have to have said the same."""
ARTICLES = frozenset({"a", "an", "the"})
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
"""Apostrophes, colons and full stops are no part of it."""
_NUMBER_WITH_COMMA = re.compile(r"\d,\d")
_STOP = re.compile(r"\.(?!\d)")
STOPS = 32
"""No more full stops than these are taken away: re.UNICODE, handed over as a count."""
_ONE_APOSTROPHE = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't
    it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't
    somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's
    they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's
    where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_SEVERAL_APOSTROPHES = """
    couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've someone'd've
    something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've
"""


def _without_one(word: str) -> list[str]:
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


CONTRACTIONS = {
    short: word for word in (_ONE_APOSTROPHE + _SEVERAL_APOSTROPHES).split() for short in _without_one(word)
} | {"somebody'd": "somebodyd"}
"""Spelling with one apostrophe left out -> with it; the last one is an error of the original, which counts."""


def normalise(answer: str) -> str:
    """An answer as answers are compared: no punctuation, no articles, numbers as digits, contractions spelled alike."""
    return plain_words(without_punctuation(answer))


def without_punctuation(answer: str) -> str:
    """Marks beside a space, or in an answer with a number such as 1,000, vanish; others become a space."""
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    has_number = _NUMBER_WITH_COMMA.search(answer) is not None
    found = answer
    for mark in PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        found = found.replace(mark, "" if beside_space or has_number else " ")
    return _STOP.sub("", found, count=STOPS)


def plain_words(answer: str) -> str:
    """Lower case, digits, no articles, contractions with their apostrophes."""
    words = [NUMBERS.get(word, word) for word in answer.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def comparable(answers: Sequence[str]) -> list[str]:
    """What people said, as it is compared with a normalised answer.

    Of ten answers the official rule takes away punctuation alone, and that only where they differ: VQAv2's are written
    normalised. Of another number it holds no rule, and they are normalised as the answer is.
    """
    if len(answers) != PEOPLE:
        return [normalise(answer) for answer in answers]
    return [without_punctuation(answer) for answer in answers] if len(set(answers)) > 1 else list(answers)


def accuracies(answers: Sequence[str]) -> Mapping[str, float]:
    """What each answer that somebody gave scores; any other one scores 0.

    The mean over all ways to leave one person out of min(1, agreeing others / 3), with fewer people than four of what
    they are at most; a single person's answer is right or wrong.
    """
    people = len(answers)
    counts = Counter(comparable(answers))
    if people == 1:
        return dict.fromkeys(counts, 1.0)
    agreed = min(AGREED, people - 1)
    return {
        answer: (count * min(1.0, (count - 1) / agreed) + (people - count) * min(1.0, count / agreed)) / people
        for answer, count in counts.items()
    }
