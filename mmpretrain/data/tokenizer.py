"""Text to token ids: CLIP's byte-pair encoding, or a WordPiece vocabulary trained on one's own captions.

Both become one `tokenizer.json` of the `tokenizers` library, which travels with every checkpoint.
"""

import gzip
import html
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import ftfy
import torch
from pydantic import Field
from tokenizers import Encoding, Regex, decoders, normalizers, pre_tokenizers
from tokenizers import Tokenizer as FastTokenizer
from tokenizers.models import BPE, WordPiece
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer
from torch import Tensor

from mmpretrain.core.errors import ConfigError
from mmpretrain.core.installed import locate
from mmpretrain.core.settings import settings
from mmpretrain.data.vocabulary import reduced

PAD_MULTIPLE = 4
"""Texts of a batch are padded to the longest one, rounded up to this many tokens."""
READ_AT_A_TIME = 1_000
"""Texts that are tokenized at a time."""
LINE_WORDS = 1_000
"""Words that the trainer of a vocabulary is given at a time."""
CLIP_MERGES = 48_894
Words = Literal["all", "seen"]
# the words, numbers, contractions and signs that CLIP's encoder takes as units
CLIP_UNITS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class SpelledWord(NamedTuple):
    """A word of a text as the vocabulary cuts it, or a sign."""

    text: str
    places: tuple[int, ...]
    """Of its tokens in the row."""
    before: str
    """The text in front of it."""
    behind: str


class Tokenizer:
    """Token ids with a start and an end token, cut at the context length.

    The end token has the highest id of a text, so that a text tower can find it by argmax as CLIP's does. A vocabulary
    of word pieces is cut behind a whole word, CLIP's behind any token, as open_clip cuts it.
    """

    def __init__(self, fast: FastTokenizer, context_length: int) -> None:
        self.context_length = context_length
        self._fast = fast
        self._fast.no_padding()
        self._fast.enable_truncation(context_length)
        self.whole_words = isinstance(self._fast.model, WordPiece)
        """Whether texts are cut behind a whole word."""

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return int(self._fast.get_vocab_size())

    @property
    def mask_id(self) -> int | None:
        """The id that stands for a hidden word; None where the vocabulary has none, as CLIP's."""
        found: int | None = self._fast.token_to_id("[MASK]")
        return found

    @property
    def unknown_id(self) -> int | None:
        """The id that stands for words that the vocabulary has not; None where bytes make up any word, as CLIP's."""
        found: int | None = self._fast.token_to_id("[UNK]")
        return found

    @property
    def ends(self) -> tuple[int, int]:
        """The ids of the start and the end token."""
        start, end = self([""])[0][0, :2].tolist()
        return start, end

    def __call__(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """tokens_BL (int64, 0 where padded) and mask_BL (True on tokens)."""
        rows = [self._kept(encoding) for encoding in self._encoded(texts)]
        longest = max(len(row) for row in rows)
        length = min(-(-longest // PAD_MULTIPLE) * PAD_MULTIPLE, self.context_length)
        tokens_BL = torch.zeros(len(rows), length, dtype=torch.int64)
        mask_BL = torch.zeros(len(rows), length, dtype=torch.bool)
        for row, ids in enumerate(rows):
            tokens_BL[row, : len(ids)] = torch.tensor(ids)
            mask_BL[row, : len(ids)] = True
        return tokens_BL, mask_BL

    def cut(self, texts: list[str]) -> int:
        """How many of the texts are longer than the context."""
        return sum(bool(encoding.overflowing) for encoding in self._encoded(texts))

    def pieces(self, texts: list[str]) -> set[int]:
        """Ids of all tokens of some texts, however long."""
        self._fast.no_truncation()
        found = {token for encoding in self._encoded(texts) for token in encoding.ids}
        self._fast.enable_truncation(self.context_length)
        return found

    def _encoded(self, texts: list[str]) -> list[Encoding]:
        encoded: list[Encoding] = self._fast.encode_batch([clean(text) for text in texts])
        return encoded

    def _kept(self, encoding: Encoding) -> list[int]:
        """The ids of a text; of one that was cut inside a word, those before that word, unless it is the first."""
        ids: list[int] = encoding.ids
        if not self.whole_words or not encoding.overflowing:
            return ids
        words, torn = encoding.word_ids, encoding.overflowing[0].word_ids[1]
        first = words.index(torn) if words[-2] == torn else len(ids) - 1
        return [*ids[:first], ids[-1]] if first > 1 else ids

    def words(self, text: str) -> list[SpelledWord]:
        """The words of a text that are not cut off, as they are spelled there."""
        spelled = clean(text)
        (encoding,) = self._encoded([spelled])
        kept = len(self._kept(encoding))
        places: dict[int, list[int]] = {}
        for place, word in enumerate(encoding.word_ids[:kept]):
            if word is not None:
                places.setdefault(word, []).append(place)
        found = []
        for own in places.values():
            first, last = encoding.offsets[own[0]][0], encoding.offsets[own[-1]][1]
            found.append(SpelledWord(spelled[first:last].strip(), tuple(own), spelled[:first], spelled[last:]))
        return found

    def decode(self, ids: list[int]) -> str:
        """The text of ids, without start and end."""
        return str(self._fast.decode(ids)).strip()

    def to_json(self) -> str:
        return str(self._fast.to_str())

    @staticmethod
    def from_json(text: str, context_length: int) -> "Tokenizer":
        return Tokenizer(FastTokenizer.from_str(text), context_length)


def clean(text: str) -> str:
    """Repaired encoding, HTML entities resolved twice, single spaces: as CLIP cleaned its captions."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split())


@settings
class ClipTokenizer:
    """The vocabulary of CLIP and open_clip: byte-level BPE, lower case, 49,408 ids."""

    kind: Literal["clip"] = "clip"
    context_length: Annotated[int, Field(ge=4, le=4096)] = 77
    """Longest text in tokens, start and end included."""
    words: Words = "all"
    """all: the whole vocabulary; seen: pieces that the training texts are made of, others fall into smaller ones."""

    def build(self, captions: Iterable[str]) -> Tokenizer:
        raw = files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz").read_bytes()
        lines = gzip.decompress(raw).decode().split("\n")[1 : CLIP_MERGES + 1]
        merges = [(first, second) for first, second in (line.split() for line in lines)]
        units = _bytes_as_characters()
        words = [*units, *(f"{unit}</w>" for unit in units), *("".join(merge) for merge in merges)]
        words += ["<start_of_text>", "<end_of_text>"]
        fast = FastTokenizer(
            BPE(vocab={word: i for i, word in enumerate(words)}, merges=merges, end_of_word_suffix="</w>")
        )
        fast.normalizer = normalizers.Lowercase()
        fast.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(CLIP_UNITS), behavior="removed", invert=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        fast.decoder = decoders.Sequence([decoders.Replace("</w>", " "), decoders.ByteLevel()])
        _wrap(fast, "<start_of_text>", "<end_of_text>")
        tokenizer = Tokenizer(fast, self.context_length)
        return only_seen(tokenizer, captions)[0] if self.words == "seen" else tokenizer


@settings
class WordPieceTokenizer:
    """A WordPiece vocabulary trained on the captions of the training split, as BERT's was on its text."""

    kind: Literal["wordpiece"] = "wordpiece"
    context_length: Annotated[int, Field(ge=4, le=4096)] = 77
    """Longest text in tokens, start and end included."""
    vocabulary: Annotated[int, Field(ge=100)] = 8192
    """Most ids to learn; small corpora give fewer."""

    def build(self, captions: Iterable[str]) -> Tokenizer:
        vocabulary = _word_pieces(map(clean, captions), self.vocabulary - 1)
        fast = _bert_like(vocabulary)
        fast.add_special_tokens(["[PAD]", "[UNK]", "[MASK]"])
        fast.add_special_tokens(["[SEP]"])  # last, so that the end token has the highest id
        fast.decoder = decoders.WordPiece()
        _wrap(fast, "[CLS]", "[SEP]")
        return Tokenizer(fast, self.context_length)


@settings
class TokenizerFile:
    """The tokenizer of somebody else's model, such as the one whose weights the text tower starts from."""

    kind: Literal["file"] = "file"
    context_length: Annotated[int, Field(ge=4, le=4096)] = 77
    """Longest text in tokens, start and end included."""
    path: str
    """A tokenizer.json, or package:NAME/FILE of an installed package."""
    words: Words = "all"
    """all: the whole vocabulary; seen: pieces that the training texts are made of, others fall into smaller ones."""

    def build(self, captions: Iterable[str]) -> Tokenizer:
        """Read it.

        Raises:
            ConfigError: there is none, or it puts no start and end token around a text.
        """
        path = locate(self.path, "data.tokenizer.path")
        try:
            fast = FastTokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise ConfigError(f"data.tokenizer.path: {path} is no tokenizer.json: {error}") from error
        tokenizer = Tokenizer(fast, self.context_length)
        if int(tokenizer([""])[1].sum()) != 2:
            raise ConfigError(f"data.tokenizer.path: {path} does not put one start and one end token around a text")
        return only_seen(tokenizer, captions)[0] if self.words == "seen" else tokenizer


def only_seen(tokenizer: Tokenizer, texts: Iterable[str]) -> tuple[Tokenizer, list[int]]:
    """The tokenizer with the pieces that some texts are made of, and their ids before; what it says of those texts is
    the same.

    Raises:
        ConfigError: it knows no smaller pieces that other texts could fall into.
    """
    used: set[int] = set()
    rest = iter(texts)
    while part := list(itertools.islice(rest, READ_AT_A_TIME)):
        used.update(tokenizer.pieces(part))
    text, kept = reduced(tokenizer.to_json(), used)
    return Tokenizer.from_json(text, tokenizer.context_length), kept


def _bert_like(vocabulary: dict[str, int]) -> FastTokenizer:
    fast = FastTokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    fast.normalizer = normalizers.BertNormalizer(lowercase=True)
    fast.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return fast


def _word_pieces(texts: Iterable[str], size: int) -> dict[str, int]:
    """A WordPiece vocabulary, the same at every call; of the texts only different words are kept in memory.

    The trainer numbers characters in the order of a hash map that differs between calls, and breaks ties by
    those numbers; given as special tokens they have theirs beforehand.
    """
    fast = _bert_like({})
    words = Counter(
        word for text in texts for word, _ in fast.pre_tokenizer.pre_tokenize_str(fast.normalizer.normalize_str(text))
    )
    characters = sorted({character for word in words for character in word})
    fixed = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", *characters, *(f"##{character}" for character in characters)]
    # the trainer counts words and looks at nothing else: it gets them as they were split, as often as they came
    fast = FastTokenizer(WordPiece({}, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = WordPieceTrainer(vocab_size=size, special_tokens=fixed, show_progress=False)
    fast.train_from_iterator(_lines(words), trainer)
    vocabulary: dict[str, int] = fast.get_vocab(with_added_tokens=True)
    return vocabulary


def _lines(words: Mapping[str, int]) -> Iterator[str]:
    """Each word as often as it was counted, in lines of bounded length."""
    for word, count in words.items():
        for start in range(0, count, LINE_WORDS):
            yield " ".join([word] * min(LINE_WORDS, count - start))


def _wrap(fast: FastTokenizer, start: str, end: str) -> None:
    ids = [(token, fast.token_to_id(token)) for token in (start, end)]
    fast.add_special_tokens([start, end])
    fast.post_processor = TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)


def _bytes_as_characters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + place) for place in range(len(others))]


def load_tokenizer(path: Path, context_length: int) -> Tokenizer:
    """The tokenizer that lies beside a checkpoint."""
    return Tokenizer.from_json(path.read_text(encoding="utf-8"), context_length)
