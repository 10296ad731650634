"""Texts as people spell them, from the words and signs that a vocabulary has apart."""

import re

_HYPHEN = re.compile(r"(?<=\w) ?- ?(?=\w)")
_CLITIC = re.compile(r"(?<=\w) ?' ?(?=(?:s|t|re|ve|m|ll|d)\b)")
_APOSTROPHE = re.compile(r"(?<=\w) ?' ?(?=\w)")
_CLOSING = re.compile(r" +(?=[,.:;!?)\]}](?:\s|$))")
_OPENING = re.compile(r"(?<=[(\[{]) +")


def spelled(text: str) -> str:
    """No spaces around hyphens inside words and apostrophes, in front of closing signs and behind opening ones.

    Two apostrophes that are no contraction's may be quotation marks, and stay as they are.
    """
    text = _CLITIC.sub("'", _HYPHEN.sub("-", text))
    if len(re.findall(r"(?<!\w)'|'(?!\w)", text)) == 1:
        text = _APOSTROPHE.sub("'", text)
    return _OPENING.sub("", _CLOSING.sub("", text))
