"""A run that learns to write answers about toy pictures, from a card that lists none, beside a classifier."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.run import Run
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import COLOURS, SHAPES, ConfigWriter, toy_picture, write_card, write_tar

QUIET = Console(quiet=True)
TRAIN, VAL = 48, 16
ASKED = {
    "colour": "what colour is it?",
    "shape": "which shape does it have?",
    "both": "describe it",
    "red": "is it red?",
}
CLASSIFIER: dict = {"kind": "question_answering", "reads": "product"}
WRITER: dict = {"kind": "answer_writing"}
COMMON: dict = {
    "data__batch": 32,
    "data__augmentation": {"crop": [1.0, 1.0]},
    "towers__text": {"kind": "causal", "width": 32, "layers": 1, "heads": 2},
    "evaluation": [{"kind": "question_answering", "split": "val"}],
    "optim__schedule": {"rate": 0.005, "warmup": 10},
    "train__steps": 300,
}


def asked(number: int) -> list[dict]:
    """Four questions of different lengths about a picture; answers of one or two words."""
    colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
    said = {"colour": colour, "shape": shape, "both": f"{colour} {shape}", "red": "yes" if colour == "red" else "no"}
    return [
        {
            "__key__": f"{number:04d}{place}",
            "png": toy_picture(colour, shape, number // 16),
            "txt": ASKED[kind].encode(),
            "json": json.dumps({"answer": said[kind], "kind": kind}).encode(),
        }
        for place, kind in enumerate(ASKED)
    ]


def questions(folder: Path, classes: list[str]) -> Path:
    folder.mkdir(parents=True)
    splits = {}
    for split, numbers in (("train", range(TRAIN)), ("val", range(TRAIN, TRAIN + VAL))):
        samples = [sample for number in numbers for sample in asked(number)]
        write_tar(folder / f"{split}.tar", samples)
        splits[split] = ([f"{split}.tar"], len(samples))
    keys = {"answers": "answer", "question_type": "kind", "text_group": None, "gallery": None}
    write_card(folder, splits, **keys, label="answer" if classes else None, classes=classes)
    return folder


@pytest.fixture(scope="module")
def unlisted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions(tmp_path_factory.mktemp("unlisted") / "toys", [])


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    both = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
    return questions(tmp_path_factory.mktemp("listed") / "toys", [*COLOURS, *SHAPES, *both, "yes", "no"])


def trained(toy_config: ConfigWriter, data: Path, objective: dict, **more: object) -> Run:
    decoder = {"towers__decoder": {"start": "text", "layers": 1}} if objective == WRITER else {}
    given = {**COMMON, **decoder, "data__name": str(data), "objectives": [objective], **more}
    return pretrain(toy_config(objective["kind"], **given), [], "never", QUIET)


def accuracy(record: dict) -> float:
    value: float = record["metrics"]["vqa_acc"]["value"]
    return value


def test_it_writes_what_a_classifier_chooses_and_needs_no_list(
    unlisted: Path, listed: Path, toy_config: ConfigWriter, tmp_path: Path
):
    classifier = trained(toy_config, listed, CLASSIFIER)
    run = trained(toy_config, unlisted, WRITER)
    chosen, written = (json.loads(each.results.read_text().splitlines()[-1]) for each in (classifier, run))
    assert accuracy(chosen) > 0.9
    assert accuracy(written) > 0.9
    assert written["metrics"]["question_only_acc"]["value"] < 0.5
    assert written["generation"]["kind"] == "greedy"
    assert "reachable" not in written, "anything can be said"
    said = [json.loads(line) for line in (run.predictions / "question_answering_val.jsonl").read_text().splitlines()]
    assert {"red square", "blue dot", "yes", "no"} <= {line["answer"] for line in said}
    assert all(0 < line["probability"] <= 1 for line in said)
    beam = evaluate(run.folder, "vqa", ":val", [], None, ["generation.kind=beam", "generation.width=3"])
    assert accuracy(beam) > 0.9
    picture = tmp_path / "blue.png"
    picture.write_bytes(toy_picture("blue", "frame", 0))
    asked = [str(run.folder), str(picture), "Describe it", "is it red?"]
    for options, shown in (([], 1), (["--how", "beam"], 4), (["--how", "beam", "--top", "2"], 2)):
        answer = CliRunner().invoke(cli, ["answer", *asked, *options, "--json"])
        first, second = (fact["answers"] for fact in json.loads(answer.output)["questions"])
        assert (first[0]["answer"], second[0]["answer"]) == ("blue frame", "no")
        assert first[0]["probability"] > 0.5
        assert len(first) == len(second) == shown
    assert "blue frame" in CliRunner().invoke(cli, ["answer", *asked]).output


def test_a_list_is_ranked_where_the_card_has_one_and_refused_by_name_where_not(
    unlisted: Path, listed: Path, toy_config: ConfigWriter, tmp_path: Path
):
    run = trained(toy_config, listed, WRITER, evaluation=[], train__steps=12)
    record = evaluate(run.folder, "vqa", ":val", [], None, ["answers=listed"])
    assert record["reachable"] == 1.0
    assert "generation" not in record
    without = trained(toy_config, unlisted, WRITER, evaluation=[], train__steps=12, run__folder=str(tmp_path / "none"))
    told = r"evaluation\.0\.answers: the cards that answer_writing learned from list no answers"
    with pytest.raises(ConfigError, match=told):
        evaluate(without.folder, "vqa", ":val", [], None, ["answers=listed"])
    picture = tmp_path / "red.png"
    picture.write_bytes(toy_picture("red", "square", 0))
    asked = ["answer", str(without.folder), str(picture), "what?", "--answers", "listed"]
    assert "--answers: the cards that answer_writing learned" in str(CliRunner().invoke(cli, asked).exception)


def test_cards_with_other_lists_teach_one_writer_and_no_classifier(
    unlisted: Path, listed: Path, toy_config: ConfigWriter
):
    both = {"batch": 32, "workers": 0, "sources": [{"name": str(listed)}, {"name": str(unlisted)}]}
    tokenizer = {"tokenizer": {"kind": "wordpiece", "vocabulary": 256, "context_length": 16}}
    more = {"towers__text": COMMON["towers__text"], "evaluation": [], "train__steps": 3}
    decoder = {"start": "text", "layers": 1}
    written = toy_config("both", data=both | tokenizer, objectives=[WRITER], towers__decoder=decoder, **more)
    assert pretrain(written, [], "never", QUIET).complete.exists()
    with pytest.raises(ConfigError, match=r"objectives.0: .* have other classes"):
        pretrain(toy_config("chosen", data=both | tokenizer, objectives=[CLASSIFIER], **more), [], "never", QUIET)


@pytest.mark.parametrize(
    ("objective", "evaluator", "said"),
    [
        (CLASSIFIER, {"generation": {"kind": "beam"}}, "chooses among its classes and writes nothing"),
        (WRITER, {"generation": {"kind": "beam"}, "answers": "listed"}, "with answers: listed nothing is written"),
        (WRITER, {"generation": {"kind": "beam", "likeness": 1.0}}, "likeness: compares captions with pictures"),
    ],
)
def test_ways_of_writing_that_would_do_nothing_are_refused(
    listed: Path, toy_config: ConfigWriter, objective: dict, evaluator: dict, said: str
):
    asked = [{"kind": "question_answering", "split": "val", **evaluator}]
    with pytest.raises(ConfigError, match=rf"evaluation\.0\.generation.*{said}"):
        trained(toy_config, listed, objective, evaluation=asked)


def test_a_classifier_that_is_asked_to_write_says_that_it_chooses(
    listed: Path, toy_config: ConfigWriter, tmp_path: Path
):
    run = trained(toy_config, listed, CLASSIFIER, evaluation=[], train__steps=12)
    asked = ["answer", str(run.folder), str(tmp_path / "any.png"), "what?", "--how", "beam"]
    said = str(CliRunner().invoke(cli, asked).exception)
    assert "--how: question_answering chooses among its classes and writes nothing" in said
