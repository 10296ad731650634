import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.card import load_card
from mmpretrain.data.convert.columns import Wanted
from mmpretrain.data.convert.detect import detect
from mmpretrain.data.convert.passages import document_name, in_passages, passages
from mmpretrain.data.convert.record import LeftOut, Record
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.samples import Sample
from tests.recipes.test_pack import digests, jpeg, pack

documents = st.text(st.sampled_from("abAB 1.!?…\"'”)\n\t\u00a0é\u0301語"), max_size=300) | st.text(max_size=200)


def packed(folder: Path) -> list[Sample]:
    return list(Dataset(str(folder), "train").samples())


@given(documents, st.integers(1, 12))
def test_passages_joined_are_the_words_of_the_document(text: str, words: int):
    found = list(passages(text, words))
    assert " ".join(found).split() == text.split()
    assert all(0 < len(passage.split()) <= words for passage in found)
    assert all(passage == " ".join(passage.split()) for passage in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three four. Five six.", ["One two. Three four.", "Five six."]),
        ("Mr. Darcy said no. She left.", ["Mr. Darcy said no.", "She left."]),
        ("“Oh!” said she. “Are you sure?” He was.", ["“Oh!” said she.", "“Are you sure?” He was."]),
        ("By J. K. Rowland once. It ends.", ["By J. K. Rowland once.", "It ends."]),
        ("A title\n\nIt begins here now.", ["A title", "It begins here now."]),
        ("one two three four five six seven. Eight.", ["one two three four five", "six seven. Eight."]),
        ("  ", []),
    ],
)
def test_passages_end_where_sentences_do(text: str, expected: list[str]):
    assert list(passages(text, 5)) == expected


@given(st.lists(documents, min_size=1, max_size=4), st.integers(1, 8))
def test_every_next_is_the_text_of_the_following_sample(texts: list[str], words: int):
    records = [Record(f"{number}.txt", None, [text]) for number, text in enumerate(texts)]
    items = list(in_passages(Listed(records), words))
    found = [item for item in items if isinstance(item, Record)]
    for number in range(len(texts)):
        own = [item for item in found if item.facts["document"] == str(number)]
        assert [item.facts["place"] for item in own] == list(range(len(own)))
        assert [item.facts["next"] for item in own[:-1]] == [item.captions[0] for item in own[1:]]
        assert own or any(isinstance(item, LeftOut) and item.origin == f"{number}.txt" for item in items)


class Listed:
    """Records as a source."""

    said = kind = "records"
    joins = has_pictures = False
    label = None

    def __init__(self, records: list[Record]) -> None:
        self._records = records

    def __iter__(self):
        return iter(self._records)


def test_documents_are_named_without_their_suffix():
    assert document_name("a.b/c.d.txt") == "a.b/c.d"
    assert document_name("c.jsonl:3") == "c:3"
    assert document_name("12:30.md") == "12:30"


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def test_a_folder_of_documents_packs_into_passages_with_their_card(tmp_path: Path):
    texts = tmp_path / "texts"
    write(texts, "b/long.txt", "First of all.\nThen more of it. And an end.")
    write(texts, "notes.md", "One is here. Two is there.")
    write(texts, "notes.txt", "Red is here. Blue is there.")
    write(texts, "rows.jsonl", json.dumps({"text": "A first one. B second one.", "place": "Bath", "next": 7}))
    for name, workers in (("one", 0), ("two", 2)):
        pack(texts, "--out", tmp_path / name, "--format", "documents", "--passage-words", 4, "--workers", workers)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    card = load_card(tmp_path / "one")
    assert (card.image, card.text_group, card.next) == ([], "document", "next")
    assert "last passage is no sample" in card.description
    found = packed(tmp_path / "one")
    assert [(each.facts["document"], each.facts["place"], each.caption, each.following) for each in found] == [
        ("b/long", 0, "First of all.", "Then more of it."),
        ("b/long", 1, "Then more of it.", "And an end."),
        ("notes", 0, "One is here.", "Two is there."),
        ("notes.txt", 0, "Red is here.", "Blue is there."),
        ("rows:1", 0, "A first one.", "B second one."),
    ]
    assert (found[-1].facts["given_place"], found[-1].facts["given_next"]) == ("Bath", 7)
    assert found[0].text_group == found[1].text_group != found[2].text_group
    assert CliRunner().invoke(cli, ["data", "check", str(tmp_path / "one")]).exit_code == 0


def test_a_document_of_one_passage_is_named_as_left_out(tmp_path: Path):
    write(tmp_path / "texts", "a.txt", "Too short.")
    write(tmp_path / "texts", "b.txt", "Long enough. For two of them.")
    arguments = [tmp_path / "texts", "--out", tmp_path / "set", "--passage-words", 4]
    with pytest.raises(DataError, match=r"1 single_passage.*--max-bad 0\.5"):
        pack(*arguments)
    pack(*arguments, "--max-bad", 0.5)
    assert (
        "a.txt,single_passage,no second passage follows its 2 words"
        in (tmp_path / "set" / "pack_errors.csv").read_text()
    )


def test_pictures_have_no_passages(tmp_path: Path):
    (tmp_path / "a.jpg").write_bytes(jpeg())
    (tmp_path / "a.txt").write_text("a picture")
    with pytest.raises(ConfigError, match="--passage-words: this source holds pictures"):
        in_passages(detect(tmp_path, [], Wanted()), 5)
