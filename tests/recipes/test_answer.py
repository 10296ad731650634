"""Runs that learn to answer questions about toy pictures, and are asked about one."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from mmpretrain.core.errors import ConfigError, DataError
from mmpretrain.recipes.answer import answer
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import COLOURS, SHAPES, ConfigWriter, toy_picture, write_card, write_tar

QUIET = Console(quiet=True)
SLOWER = {"rate": 0.005, "warmup": 5}
FUSION = {"start": "text", "layers": 1}
HEADS = {
    "question_answering": ({"kind": "question_answering"}, {"towers__fusion": FUSION}),
    "product": ({"kind": "question_answering", "reads": "product", "loss": "sigmoid"}, {}),
    "answer_writing": (
        {"kind": "answer_writing"},
        {"towers__decoder": FUSION, "train__steps": 160, "optim__schedule": SLOWER},
    ),
}


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two questions about each picture: what colour, and whether it is red."""
    folder = tmp_path_factory.mktemp("questions") / "toys"
    folder.mkdir()
    samples = []
    for number in range(96):
        colour, shape = list(COLOURS)[number % 4], SHAPES[number // 4 % 4]
        asked = [("what colour is it?", colour), ("is it red?", "yes" if colour == "red" else "no")]
        for place, (question, said) in enumerate(asked):
            samples.append(
                {
                    "__key__": f"{number:04d}{place}",
                    "png": toy_picture(colour, shape, number // 16),
                    "txt": question.encode(),
                    "json": json.dumps({"answer": said, "kind": question.split()[0]}).encode(),
                }
            )
    write_tar(folder / "train-00000.tar", samples[:160])
    write_tar(folder / "val-00000.tar", samples[160:])
    keys = {"label": "answer", "answers": "answer", "question_type": "kind", "text_group": None, "gallery": None}
    splits = {"train": (["train-00000.tar"], 160), "val": (["val-00000.tar"], 32)}
    write_card(folder, splits, **keys, classes=[*COLOURS, "yes", "no"])
    return folder


@pytest.mark.parametrize("name", HEADS)
def test_a_run_learns_to_answer_and_says_how_sure_it_is(
    name: str, questions: Path, toy_config: ConfigWriter, tmp_path: Path
):
    head, parts = HEADS[name]
    given = {
        "data__name": str(questions),
        "data__batch": 32,
        "data__augmentation": {"crop": [1.0, 1.0]},
        "objectives": [head],
        "evaluation": [],
        "optim__schedule": {"rate": 0.01, "warmup": 5},
        "train__steps": 80,
        **parts,
    }
    run = pretrain(toy_config(name, **given), [], "auto", QUIET)
    for colour in COLOURS:
        picture = tmp_path / f"{colour}.png"
        picture.write_bytes(toy_picture(colour, "square", 0))
        facts = answer(run.folder, picture, ["What colour is it?", "Is it red?"], "", 2, QUIET, "listed")
        first, second = (fact["answers"] for fact in facts["questions"])
        assert first[0]["answer"] == colour
        assert second[0]["answer"] == ("yes" if colour == "red" else "no")
        assert 1 / len(COLOURS) < first[0]["probability"] <= 1
        assert first[0]["probability"] >= first[1]["probability"]


def test_a_run_that_learned_no_answers_says_what_to_train(toy_config: ConfigWriter, tmp_path: Path):
    run = pretrain(toy_config("mute", evaluation=[]), [], "auto", QUIET)
    with pytest.raises(ConfigError, match="learned contrastive and no answers; train one with question_answering"):
        answer(run.folder, tmp_path / "green.png", ["what?"], "", 2, QUIET)


def test_data_without_answers_is_refused_by_name(toy_config: ConfigWriter):
    config = toy_config("none", objectives=[HEADS["product"][0]], evaluation=[])
    with pytest.raises(ConfigError, match=r"question_answering cannot learn from .*, whose card names no answers"):
        pretrain(config, [], "auto", QUIET)


def test_a_picture_that_cannot_be_read_and_an_empty_question_are_told_in_one_line(
    questions: Path, toy_config: ConfigWriter, tmp_path: Path
):
    given = {"data__name": str(questions), "objectives": [HEADS["product"][0]], "evaluation": []}
    run = pretrain(toy_config("asked", **given), [], "auto", QUIET)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"broken\.png: "):
        answer(run.folder, broken, ["what?"], "", 2, QUIET)
    with pytest.raises(DataError, match="an empty question has no answer; ask one"):
        answer(run.folder, broken, ["  "], "", 2, QUIET)
