"""Every source format on toy data: what is found, said, yielded and left out."""

import json
from pathlib import Path

import pytest

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.data.convert.class_folders import class_names
from mmpretrain.data.convert.columns import Wanted
from mmpretrain.data.convert.detect import detect
from mmpretrain.data.convert.record import LeftOut, Record, Source
from mmpretrain.data.faults import BadSample
from tests.conftest import toy_picture

RED = toy_picture("red", "square", 0)


def picture_at(path: Path, content: bytes = RED) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def text_at(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def found(source: Source) -> dict[str, object]:
    """Picture (or origin, without one) -> captions."""
    return {
        item.picture.name if item.picture else item.origin: item.captions for item in source if isinstance(item, Record)
    }


def left_out(source: Source) -> dict[str, str]:
    return {item.origin: item.reason for item in source if isinstance(item, LeftOut)}


def open_table(tmp_path: Path, name: str, text: str, encoding: str = "utf-8", **wanted: object) -> Source:
    return detect(tmp_path, [text_at(tmp_path / name, text, encoding)], Wanted(**wanted))


def test_text_files_are_captions_of_the_pictures_beside_them(tmp_path: Path):
    picture_at(tmp_path / "a" / "one.jpg")
    text_at(tmp_path / "a" / "one.txt", "first\n\nsecond\n")
    text_at(tmp_path / "a" / "one.json", '{"url": "x"}')
    picture_at(tmp_path / "two.PNG")
    text_at(tmp_path / "alone.txt", "no picture")
    picture_at(tmp_path / "latin.png")
    text_at(tmp_path / "latin.txt", "caf\u00e9", "latin-1")
    source = detect(tmp_path, [], Wanted())
    (record,) = (item for item in source if isinstance(item, Record))
    assert (record.picture.name, record.captions, record.facts) == ("a/one.jpg", ["first", "", "second"], {"url": "x"})
    assert left_out(source) == {
        "alone.txt": "missing_image",
        "latin.png": "caption_encoding",
        "two.PNG": "missing_caption",
    }
    assert "3 pictures" in source.said
    assert found(detect(tmp_path, [], Wanted(encoding="latin-1")))["latin.png"] == ["caf\u00e9"]


@pytest.mark.parametrize(
    ("text", "encoding", "said"),
    [
        (
            "file,caption\na.png,a dog\n",
            "utf-8",
            "',' separated, utf-8, picture column 'file', caption column 'caption'",
        ),
        ("file;caption\na.png;a dog\n", "cp1252", "';' separated"),
        ("image\ttitle\na.png\ta dog, brown\n", "utf-8-sig", "tab separated, utf-8-sig"),
        ("sep=;\nfilepath;text\na.png;a dog\n", "utf-16", "';' separated, utf-16"),
        ("image_name| comment_number| comment\na.png| 0| a dog\n", "utf-8", "'|' separated"),
        ("a.png#0\ta dog on a lawn\na.png#1\ta brown dog\n", "utf-8", "picture column '1', caption column '2'"),
        ('name,x\na.png,"a dog, a cat\nand a bird"\n', "utf-8", "picture column 'name', caption column 'x'"),
        ('image\tcaption\na.png\t"quoted start only\nb.png\t12" pipe\n', "utf-8", "quotation marks are text"),
        (",file,caption\n0,a.png,a dog\n", "utf-8", "picture column 'file'"),
        ("img;caption_de;caption_en\na.png;ein Hund;a dog\n", "utf-8", "caption columns 'caption_de', 'caption_en'"),
    ],
)
def test_tables_are_read_as_they_are_and_say_so(tmp_path: Path, text: str, encoding: str, said: str):
    source = open_table(tmp_path, "t.csv", text, encoding)
    assert said in source.said
    assert "a.png" in found(source)
    assert not left_out(source)


def test_languages_come_from_the_names_of_columns_or_from_the_user(tmp_path: Path):
    text = "img;caption_de;caption_en\na.png;ein Hund;a dog\n"
    assert found(open_table(tmp_path, "t.csv", text)) == {"a.png": {"de": ["ein Hund"], "en": ["a dog"]}}
    chosen = ("en=caption_en", "de=caption_de")
    assert list(found(open_table(tmp_path, "t.csv", text, caption_columns=chosen))["a.png"]) == ["en", "de"]


def test_every_option_overrides_what_would_be_sniffed(tmp_path: Path):
    text = "p:caption:q\na.png:no:a dog\n"
    chosen = {"separator": ":", "encoding": "latin-1", "image_column": "p", "caption_columns": ("q",)}
    source = detect(tmp_path, [text_at(tmp_path / "t.csv", text)], Wanted(**chosen))
    assert found(source) == {"a.png": ["a dog"]}
    assert "':' separated, latin-1, picture column 'p', caption column 'q'" in source.said


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"image_column": "fil"}, "did you mean 'file'"),
        ({"caption_columns": ("captoin",)}, "did you mean 'caption'"),
        ({"caption_columns": ("en=caption", "file")}, "of every caption column"),
        ({"encoding": "utf-9"}, "Python knows no 'utf-9'"),
        ({"separator": "::"}, "not one character"),
    ],
)
def test_an_option_that_does_not_fit_says_what_would(tmp_path: Path, wanted: dict, message: str):
    table = text_at(tmp_path / "t.csv", "file,caption\na.png,a dog\n")
    with pytest.raises(ConfigError, match=message):
        detect(tmp_path, [table], Wanted(**wanted))


def test_damaged_rows_are_named_and_the_rest_is_read(tmp_path: Path):
    accents = "\u00e9\u00fc\u00f6\u00e4\u00e1\u00e0\u00e2\u00ea\u00eb\u00ee"
    text = f'file,caption\na.png,a dog\nb.png,a dog, brown\nc.png,"a" dog\nd.png,{accents}\nf.png,"a, b"\ne.png,'
    path = text_at(tmp_path / "t.csv", text)
    path.write_bytes(path.read_bytes() + b"\xff\n")
    source = detect(tmp_path, [path], Wanted())
    assert set(found(source)) == {"a.png", "d.png", "f.png"}
    assert left_out(source) == dict.fromkeys(("t.csv:3", "t.csv:4", "t.csv:7"), "damaged_row")


def test_json_lines_take_one_caption_several_or_a_language_each(tmp_path: Path):
    rows = [
        {"image": "a.png", "captions": ["one", "two"], "url": "x"},
        {"image": "b.png", "captions": {"en": "one", "de": ["eins", "zwei"]}},
        {"image": "c.png", "captions": "alone"},
    ]
    text = "\n".join([*map(json.dumps, rows), "{broken", "[1]"])
    source = open_table(tmp_path, "t.jsonl", text)
    assert found(source) == {
        "a.png": ["one", "two"],
        "b.png": {"en": ["one"], "de": ["eins", "zwei"]},
        "c.png": ["alone"],
    }
    assert left_out(source) == {"t.jsonl:4": "damaged_row", "t.jsonl:5": "damaged_row"}
    assert found(open_table(tmp_path, "t.json", json.dumps(rows))) == found(open_table(tmp_path, "u.jsonl", text))


def test_the_hubs_metadata_is_read_folder_by_folder_as_splits(tmp_path: Path):
    for split in ("train", "validation"):
        picture_at(tmp_path / split / "a.png")
        text_at(tmp_path / split / "metadata.csv", "file_name,text\na.png,a dog\n")
    source = detect(tmp_path, [], Wanted())
    assert {item.split for item in source} == {"train", "val"}
    assert [item.origin for item in source] == ["train/metadata.csv:2", "validation/metadata.csv:2"]
    assert all(item.picture.read(10_000) == RED for item in source)


def test_parquet_with_paths_and_with_pictures_inside(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    paths = pyarrow.table({"image": ["a.png", None], "caption": ["a dog", "a cat"], "score": [0.5, None]})
    parquet.write_table(paths, tmp_path / "paths.parquet")
    source = detect(tmp_path, [tmp_path / "paths.parquet"], Wanted())
    assert found(source) == {"a.png": ["a dog"]}
    assert left_out(source) == {"paths.parquet: row 2": "no_image"}

    inside = tmp_path / "hub" / "train-00000.parquet"
    inside.parent.mkdir()
    cells = [{"bytes": RED, "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    parquet.write_table(pyarrow.table({"image": cells, "text": ["a dog", "gone"]}), inside, row_group_size=1)
    first, second = detect(tmp_path / "hub", [], Wanted())
    assert (first.picture.read(10_000), first.captions) == (RED, ["a dog"])
    with pytest.raises(BadSample, match="missing_image"):
        second.picture.read(10_000)


def test_coco_has_several_captions_a_picture(tmp_path: Path):
    tree = {
        "images": [{"id": 7, "file_name": "a.png", "coco_url": "x"}, {"id": 8, "file_name": "b.png"}],
        "annotations": [{"image_id": 7, "caption": f"caption {n}"} for n in range(5)]
        + [{"image_id": 9, "caption": "?"}],
    }
    source = open_table(tmp_path, "captions.json", json.dumps(tree))
    assert found(source) == {"a.png": [f"caption {n}" for n in range(5)], "b.png": []}
    assert next(iter(source)).facts == {"image_id": 7, "coco_url": "x"}
    assert list(left_out(source).values()) == ["unknown_image"]


def test_karpathys_file_brings_its_splits(tmp_path: Path):
    image = {
        "filepath": "val2014",
        "filename": "a.png",
        "split": "restval",
        "sentences": [{"raw": "one"}, {"raw": "two"}],
    }
    (record,) = open_table(tmp_path, "dataset.json", json.dumps({"images": [image]}))
    assert (record.picture.name, record.captions, record.split) == ("val2014/a.png", ["one", "two"], "train")


def test_every_vqa_question_is_a_sample_with_its_answers(tmp_path: Path):
    picture_at(tmp_path / "val2014" / "COCO_val2014_000000000042.jpg")
    questions = text_at(
        tmp_path / "q.json",
        json.dumps(
            {
                "questions": [
                    {"image_id": 42, "question": "What colour?", "question_id": 420},
                    {"image_id": 42, "question": "How many?", "question_id": 421},
                    {"image_id": 43, "question": "Where?", "question_id": 430},
                ]
            }
        ),
    )
    answer = {"question_type": "what", "answer_type": "other", "multiple_choice_answer": "red"}
    annotations = [{"question_id": n, "answers": [{"answer": "red"}, {"answer": "blue"}], **answer} for n in (420, 430)]
    answers = text_at(tmp_path / "a.json", json.dumps({"annotations": annotations}))
    for order in ([questions, answers], [answers, questions]):
        source = detect(tmp_path, order, Wanted())
        (record,) = (item for item in source if isinstance(item, Record))
        assert record.captions == ["What colour?"]
        assert record.facts["answers"] == ["red", "blue"]
        assert record.facts["answer"] == "red"
        assert list(left_out(source).values()) == ["missing_answer", "missing_image"]


def test_class_folders_caption_by_the_name_of_the_class(tmp_path: Path):
    for name in ("golden_retriever", "tabby-cat"):
        picture_at(tmp_path / name / "deep" / "a.png")
    picture_at(tmp_path / "stray.png")
    source = detect(tmp_path, [], Wanted())
    assert found(source) == {
        "golden_retriever/deep/a.png": ["golden retriever"],
        "tabby-cat/deep/a.png": ["tabby cat"],
    }
    assert left_out(source) == {"stray.png": "no_class"}
    assert source.label == "label"


def test_class_folders_may_stand_in_folders_of_splits(tmp_path: Path):
    for split in ("train", "test"):
        picture_at(tmp_path / split / "dog" / "a.png")
    assert {(item.origin, item.split) for item in detect(tmp_path, [], Wanted())} == {
        ("train/dog/a.png", "train"),
        ("test/dog/a.png", "test"),
    }


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["001.Sooty_Albatross", "002.Crow"], ["Sooty Albatross", "Crow"]),
        (["n02099601-golden_retriever", "n02110185-husky"], ["golden retriever", "husky"]),
        (["n02099601", "n02110185"], ["n02099601", "n02110185"]),
        (["7", "8"], ["7", "8"]),
        (["a_b", "a-b"], ["a_b", "a-b"]),
        (["1_dog", "cat"], ["1 dog", "cat"]),
    ],
)
def test_class_names_lose_numbers_only_where_all_have_one(folders: list[str], names: list[str]):
    assert list(class_names(folders).values()) == names


def test_texts_without_pictures_are_documents(tmp_path: Path):
    text_at(tmp_path / "a.txt", "one\ntwo")
    text_at(tmp_path / "b.md", "# three")
    text_at(tmp_path / "c.jsonl", '{"text": "four", "id": 4}\n{"text": "five"}\nno\n')
    source = detect(tmp_path, [], Wanted())
    assert found(source) == {"a.txt": ["one\ntwo"], "b.md": ["# three"], "c.jsonl:1": ["four"], "c.jsonl:2": ["five"]}
    assert not source.has_pictures
    assert left_out(source) == {"c.jsonl:3": "damaged_row"}
    assert len(found(detect(tmp_path / "c.jsonl", [], Wanted()))) == 2


def test_pictures_without_captions_and_a_table_nobody_named_ask_for_it(tmp_path: Path):
    picture_at(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"without captions; put a \.txt"):
        detect(tmp_path, [], Wanted())
    text_at(tmp_path / "list.csv", "file,caption\na.png,a dog\n")
    with pytest.raises(ConfigError, match=r"--captions .*list\.csv"):
        detect(tmp_path, [], Wanted())


@pytest.mark.parametrize("text", ["{}", '{"images": []}', "7"])
def test_json_of_another_kind_says_what_is_known(tmp_path: Path, text: str):
    with pytest.raises(ConfigError, match="no table of captions that is known"):
        open_table(tmp_path, "x.json", text)


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"no \.txt, \.md or \.jsonl"):
        detect(tmp_path, [], Wanted())
    with pytest.raises(ConfigError, match="no such file or folder"):
        detect(tmp_path / "nowhere", [], Wanted())


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../secret.png", "outside_source"),
        ("a/../../secret.png", "outside_source"),
        ("/etc/hostname", "outside_source"),
        ("C:\\secret.png", "outside_source"),
        ("..\\secret.png", "outside_source"),
        ("https://example.org/a.png", "image_url"),
        ("a\0.png", "outside_source"),
        ("", "no_image"),
    ],
)
def test_names_that_lead_out_of_the_source_are_refused(tmp_path: Path, name: str, reason: str):
    source = open_table(tmp_path, "t.jsonl", json.dumps({"image": name, "caption": "x"}), image_column="image")
    assert list(left_out(source).values()) == [reason]


def test_links_out_of_the_source_are_read_only_when_asked(tmp_path: Path):
    picture_at(tmp_path / "elsewhere.png")
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").symlink_to(tmp_path / "elsewhere.png")
    table = text_at(tmp_path / "t.csv", "file,caption\na.png,a dog\n")
    (record,) = detect(folder, [table], Wanted())
    with pytest.raises(BadSample, match="--follow-links allows it"):
        record.picture.read(10_000)
    (record,) = detect(folder, [table], Wanted(follow_links=True))
    assert record.picture.read(10_000) == RED


def test_absolute_names_inside_the_source_are_fine(tmp_path: Path):
    source = open_table(tmp_path, "t.csv", f"file,caption\n{tmp_path}/a/b.png,a dog\n")
    assert set(found(source)) == {"a/b.png"}


def test_a_pipe_with_the_name_of_a_picture_is_not_waited_for(tmp_path: Path):
    import os

    os.mkfifo(tmp_path / "a.png")
    (record,) = open_table(tmp_path, "t.csv", "file,caption\na.png,a dog\n")
    with pytest.raises(BadSample, match="no plain file"):
        record.picture.read(10_000)
