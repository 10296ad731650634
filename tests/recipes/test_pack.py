import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, DataError, MmpretrainError
from mmpretrain.data.card import load_card
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.samples import Sample
from tests.conftest import COLOURS, SHAPES, toy_picture, toy_samples, write_tar


def pack(*arguments: object) -> str:
    answer = CliRunner().invoke(cli, ["data", "pack", *map(str, arguments)], catch_exceptions=False)
    return answer.output


def samples_of(folder: Path, split: str = "train") -> list[Sample]:
    return list(Dataset(str(folder), split).samples())


def jpeg(colour: str = "red", width: int = 40, height: int = 20) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixteen pictures of four folders, each with a text file."""
    folder = tmp_path / "photos"
    for colour in COLOURS:
        (folder / colour).mkdir(parents=True)
        for shape in SHAPES:
            (folder / colour / f"{shape}.png").write_bytes(toy_picture(colour, shape, 0))
            (folder / colour / f"{shape}.txt").write_text(f"a {colour} {shape}\none {shape}")
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_bytes_are_the_same_for_any_number_of_workers_and_every_time(photos: Path, tmp_path: Path):
    made = []
    for name, workers in (("a", 0), ("b", 1), ("c", 3), ("d", 0)):
        pack(photos, "--out", tmp_path / name, "--workers", workers, "--shard-samples", 6, "--resize", 10)
        made.append(digests(tmp_path / name))
    assert len(made[0]) == 9  # three tars with their indexes, manifest, card, faults
    assert made[0] == made[1] == made[2] == made[3]


def test_the_summary_names_place_count_and_next_command(photos: Path, tmp_path: Path):
    output = pack(photos, "--out", tmp_path / "set")
    assert f"{tmp_path / 'set'}: 16 samples of 16 records in 1 shards" in output
    assert "left out: nothing" in output
    assert output.rstrip().endswith(f"mmpretrain data check {tmp_path / 'set'}")
    assert CliRunner().invoke(cli, ["data", "check", str(tmp_path / "set")]).exit_code == 0


def test_shards_stay_within_their_limits_and_the_card_names_them_as_a_range(photos: Path, tmp_path: Path):
    pack(photos, "--out", tmp_path / "set", "--shard-samples", 5, "--split-name", "all")
    split = load_card(tmp_path / "set").splits["all"]
    assert (split.shards, split.samples) == (["all-{00000..00003}.tar"], 16)


def test_original_bytes_are_kept_under_the_suffix_that_they_are(tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    webp = io.BytesIO()
    Image.new("RGB", (8, 8)).save(webp, "WEBP")
    contents = {
        "a.png": jpeg(),
        "b.jpg": toy_picture("red", "dot", 0),
        "c.jpeg": webp.getvalue(),
        "d.jpg": jpeg("blue"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        (folder / name).with_suffix(".txt").write_text(f"picture {name}")
    pack(folder, "--out", tmp_path / "set")
    assert load_card(tmp_path / "set").image == ["jpg", "png", "webp"]
    stored = {sample.facts["origin"]: sample.facts["sha256"] for sample in samples_of(tmp_path / "set")}
    assert stored == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def test_resizing_is_said_in_the_card_and_leaves_small_pictures_alone(tmp_path: Path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, content in {"large": jpeg("red", 40, 20), "small": toy_picture("red", "dot", 0)}.items():
        (folder / f"{name}.png").write_bytes(content)
        (folder / f"{name}.txt").write_text(name)
    pack(folder, "--out", tmp_path / "set", "--resize", 20)
    pack(folder, "--out", tmp_path / "other", "--resize", 16, "--resize-side", "shorter")
    assert [tuple(sample.image.shape[1:]) for sample in samples_of(tmp_path / "set")] == [(10, 20), (16, 16)]
    assert [tuple(sample.image.shape[1:]) for sample in samples_of(tmp_path / "other")] == [(16, 32), (16, 16)]
    assert samples_of(tmp_path / "set")[0].facts["width"] == 40
    assert "re-encoded as JPEG of quality 95" in " ".join((tmp_path / "set" / "dataset.yaml").read_text().split())


def test_class_folders_become_labels_and_a_picture_in_two_of_them_is_named(tmp_path: Path):
    for name in ("black_cat", "dog"):
        (tmp_path / "src" / name).mkdir(parents=True)
        (tmp_path / "src" / name / "same.png").write_bytes(toy_picture("red", "dot", 0))
    (tmp_path / "src" / "dog" / "own.png").write_bytes(toy_picture("blue", "dot", 0))
    pack(tmp_path / "src", "--out", tmp_path / "set", "--max-bad", 0.5)
    card = load_card(tmp_path / "set")
    assert (card.label, card.classes) == ("label", ["black cat", "dog"])
    assert [(sample.caption, sample.label) for sample in samples_of(tmp_path / "set")] == [("black cat", 0), ("dog", 1)]
    assert "dog/same.png,two_labels" in (tmp_path / "set" / "pack_errors.csv").read_text()


def test_folders_of_splits_become_splits_of_the_card(photos: Path, tmp_path: Path):
    (tmp_path / "src").mkdir()
    photos.rename(tmp_path / "src" / "train")
    (tmp_path / "src" / "valid").mkdir()
    (tmp_path / "src" / "valid" / "a.png").write_bytes(jpeg())
    (tmp_path / "src" / "valid" / "a.txt").write_text("held out")
    pack(tmp_path / "src", "--out", tmp_path / "set")
    assert {name: split.samples for name, split in load_card(tmp_path / "set").splits.items()} == {
        "train": 16,
        "val": 1,
    }


def test_a_picture_with_two_questions_stays_two_samples(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "42.jpg").write_bytes(jpeg())
    rows = [{"image_id": 42, "question": text, "question_id": n} for n, text in enumerate(("What?", "Where?", "What?"))]
    (tmp_path / "q.json").write_text(json.dumps({"questions": rows}))
    pack(tmp_path / "photos", "--captions", tmp_path / "q.json", "--out", tmp_path / "set")
    assert [sample.caption for sample in samples_of(tmp_path / "set")] == ["What?", "Where?", "What?"]


def test_texts_pack_index_and_check_without_pictures(tmp_path: Path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("one text " * 4000)
    (tmp_path / "texts" / "b.md").write_text("# another")
    (tmp_path / "texts" / "c.md").write_text("# another")
    pack(tmp_path / "texts", "--out", tmp_path / "set")
    assert load_card(tmp_path / "set").image == []
    assert "c.md,duplicate,same text as b.md" in (tmp_path / "set" / "pack_errors.csv").read_text()
    runner = CliRunner()
    assert runner.invoke(cli, ["data", "check", str(tmp_path / "set")]).exit_code == 0
    assert runner.invoke(cli, ["data", "index", str(tmp_path / "set")]).exit_code == 0
    dataset = Dataset(str(tmp_path / "set"), "train")
    assert dataset.shards[0].suffixes == ("txt",)
    assert max(member.size for member in dataset.shards[0].members(0)) == 4000 * 9 - 1


def test_fields_of_a_table_keep_their_names_and_odd_values_stay_json(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg())
    row = '{"image": "a.jpg", "caption": {"en": "a", "de": ["b", ""]}, "width": 7, "score": NaN, "name": "\\ud800"}'
    (tmp_path / "t.jsonl").write_text(row)
    pack(tmp_path / "photos", "--captions", tmp_path / "t.jsonl", "--out", tmp_path / "set")
    facts = samples_of(tmp_path / "set")[0].facts
    assert facts["captions"] == {"en": ["a"], "de": ["b"]}
    assert (facts["width"], facts["given_width"], facts["score"]) == (40, 7, None)


@pytest.mark.parametrize("place", ["shards", "elsewhere"])
def test_shards_of_img2dataset_are_used_as_they_are(tmp_path: Path, place: str):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number, count in enumerate((5, 4)):
        write_tar(folder / f"{number:05d}.tar", toy_samples(count, f"artist{number}"))
        (folder / f"{number:05d}_stats.json").write_text(json.dumps({"count": 9, "successes": 5}))
    (folder / "00002.tar").write_bytes(b"\0" * 10240)
    (folder / "00002_stats.json").write_text('{"successes": 0}')
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    output = pack(folder, "--out", tmp_path / place, "--max-bad", 0.5)
    assert "9 samples in 2 shards; card and indexes written, nothing copied" in output
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name in before} == before
    assert load_card(tmp_path / place).splits["train"].shards == ["{00000..00001}.tar"]
    assert len(samples_of(tmp_path / place)) == 9
    faults = (tmp_path / place / "pack_errors.csv").read_text()
    assert "00001.tar,count_differs" in faults
    assert "00002" not in faults


def test_damaged_shards_are_named_and_too_many_of_them_refused(tmp_path: Path):
    write_tar(tmp_path / "a.tar", toy_samples(5))
    (tmp_path / "b.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:3000])
    with pytest.raises(DataError, match="1 of 2 shards"):
        pack(tmp_path, "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert "b.tar,damaged_shard" in (tmp_path / "set.pack_errors.csv").read_text()


def test_nothing_that_is_there_is_overwritten(photos: Path, tmp_path: Path):
    (tmp_path / "set").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        pack(photos, "--out", tmp_path / "set")


def test_a_picture_that_changes_while_packing_stops_it_and_leaves_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from mmpretrain.recipes.datasets import pack as recipe

    def touch_then_ask(*arguments: object) -> None:
        (photos / "red" / "dot.png").write_bytes(jpeg())

    monkeypatch.setattr(recipe, "require_space", touch_then_ask)
    with pytest.raises(DataError, match=r"red/dot\.png changed while it was packed"):
        pack(photos, "--out", tmp_path / "sets" / "mine")
    assert not list((tmp_path / "sets").iterdir())


def test_too_little_space_is_refused_before_the_work(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mmpretrain.recipes.datasets.pack.space", lambda samples: 1 << 60)
    with pytest.raises(MmpretrainError, match="choose another --out"):
        pack(photos, "--out", tmp_path / "sets" / "mine")
    assert not (tmp_path / "sets").exists()


def test_a_packed_set_of_questions_says_where_its_answers_are(tmp_path: Path):
    (tmp_path / "vqa").mkdir()
    for number in (1, 2):
        (tmp_path / "vqa" / f"{number}.png").write_bytes(toy_picture("red", "dot", number))
    asked = [(1, "what color?", "red"), (1, "how many?", "one"), (2, "is it red?", "yes"), (2, "is it big?", "yes")]
    questions = [{"image_id": image, "question": text, "question_id": n} for n, (image, text, _) in enumerate(asked)]
    answers = [
        {"question_id": n, "question_type": text.split()[0], "multiple_choice_answer": answer, "answers": [answer] * 10}
        for n, (_, text, answer) in enumerate(asked)
    ]
    (tmp_path / "q.json").write_text(json.dumps({"questions": questions}))
    (tmp_path / "a.json").write_text(json.dumps({"annotations": answers}))
    files = ["--captions", str(tmp_path / "q.json"), "--captions", str(tmp_path / "a.json")]
    pack(tmp_path / "vqa", *files, "--out", tmp_path / "out")
    card = load_card(tmp_path / "out")
    assert (card.answers, card.question_type, card.label) == ("answers", "question_type", "answer")
    assert card.classes == ["yes", "one", "red"]
    samples = samples_of(tmp_path / "out")
    assert [sample.answers for sample in samples] == [(answer,) * 10 for _, _, answer in asked]
    assert [card.classes[sample.label] for sample in samples] == ["red", "one", "yes", "yes"]
    checked = CliRunner().invoke(cli, ["data", "check", str(tmp_path / "out")])
    assert checked.exit_code == 0, checked.output


def table_of(folder: Path, header: list[str], rows: list[list[str]]) -> Path:
    pictures = folder / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for row in {row[0] for row in rows}:
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(pictures / row)
    table = folder / "table.csv"
    table.write_text("\n".join(",".join(row) for row in [header, *rows]) + "\n")
    return table


def packed(tmp_path: Path, header: list[str], rows: list[list[str]], *more: str) -> Path:
    table = table_of(tmp_path, header, rows)
    pack(tmp_path / "pictures", "--captions", table, "--out", tmp_path / "out", "--max-bad", 0.2, *more)
    return tmp_path / "out"


def test_a_table_of_pictures_and_classes_needs_no_captions(tmp_path: Path):
    rows = [[f"{number}.png", ("cat", "dog")[number % 2]] for number in range(8)]
    out = packed(tmp_path, ["image", "label"], [*rows, ["0.png", ""]])
    card = load_card(out)
    assert (card.label, card.classes) == ("label", ["cat", "dog"])
    samples = list(Dataset(str(out), "train").samples())
    assert [(sample.caption, sample.label) for sample in samples[:2]] == [("cat", 0), ("dog", 1)]
    assert "missing_label" in (out / "pack_errors.csv").read_text()


def test_a_class_column_beside_captions_is_the_class(tmp_path: Path):
    rows = [[f"{number}.png", f"a small {kind}", kind] for number, kind in enumerate(["cat", "dog"] * 4)]
    out = packed(tmp_path, ["image", "caption", "species"], rows, "--label-column", "species")
    assert load_card(out).classes == ["cat", "dog"]
    assert next(iter(Dataset(str(out), "train").samples())).caption == "a small cat"


def test_a_table_of_questions_and_answers_is_a_sample_a_question(tmp_path: Path):
    rows = [[f"{n // 2}.png", ("what is it?", "is it red?")[n % 2], ("cat", "no")[n % 2]] for n in range(8)]
    out = packed(tmp_path, ["image", "question", "answer"], rows)
    card = load_card(out)
    assert (card.answers, card.classes) == ("answer", ["cat", "no"])
    samples = list(Dataset(str(out), "train").samples())
    assert len(samples) == 8
    assert (samples[0].caption, samples[0].answers) == ("what is it?", ("cat",))


def test_captions_that_are_classes_or_questions_do_not_hold_a_split_together(tmp_path: Path):
    rows = [[f"{number}.png", ("cat", "dog")[number % 2]] for number in range(40)]
    out = packed(tmp_path, ["image", "label"], rows)
    new = tmp_path / "split"
    answer = CliRunner().invoke(cli, ["data", "split", str(out), "--out", str(new)], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert {split: bool(len(Dataset(str(new), split))) for split in load_card(new).splits} == {
        "train": True,
        "val": True,
        "test": True,
    }
