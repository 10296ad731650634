"""Pretraining from texts alone, from a folder of documents to a report, and the commands that look at such a set."""

import html
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, DataError, MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run
from mmpretrain.core.weights import load_tensors
from mmpretrain.data.card import load_card
from mmpretrain.data.dataset import Dataset
from mmpretrain.data.tokenizer import clean
from mmpretrain.data.uids import read_uids
from mmpretrain.recipes.dry_run import dry_run
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.folder import read_folder
from mmpretrain.report.page import write_report
from mmpretrain.report.written import build_written
from tests.conftest import write_card, write_tar

QUIET = Console(quiet=True)
OBJECTIVES = {
    "bidirectional": [{"kind": "masked_language", "inside": "pair"}, {"kind": "next_sentence", "negatives_within": 8}],
    "causal": [{"kind": "causal_language"}],
}
KINDS = list(OBJECTIVES)


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def write_config(folder: Path, passages: Path, kind: str, name: str, **train: object) -> Path:
    tree = {
        "run": {"folder": str(folder / "runs" / name)},
        "data": {
            "name": str(passages),
            "batch": 16,
            "workers": 0,
            "tokenizer": {"kind": "wordpiece", "context_length": 24, "vocabulary": 400},
        },
        "towers": {"image": None, "text": {"kind": kind, "width": 32, "layers": 1, "heads": 2}},
        "objectives": OBJECTIVES[kind],
        "optim": {"schedule": {"rate": 0.001, "warmup": 2}},
        "engine": {"kind": "single", "precision": "fp32"},
        "train": {"steps": 6, "log_every": 2, **train},
        "evaluation": [{"kind": "held_out", "split": "val"}],
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def runs(passages: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A finished run of each kind."""
    folder = tmp_path_factory.mktemp("trained")
    return {kind: pretrain(write_config(folder, passages, kind, kind), [], "auto", QUIET) for kind in KINDS}


def plain(text: str) -> str:
    """Letters and signs as the tokenizer takes them, however they were cut into word pieces."""
    return re.sub(r"##|\s", "", clean(text).lower())


def invoke(*arguments: object, fails: type[MmpretrainError] | None = None) -> str:
    answer = CliRunner().invoke(cli, list(map(str, arguments)))
    assert isinstance(answer.exception, fails) if fails else answer.exception is None, answer.output
    return " ".join(answer.output.split()) if fails is None else str(answer.exception)


def facts_of(*arguments: object) -> dict:
    return json.loads(invoke(*arguments, "--json"))


class TestRun:
    @pytest.mark.parametrize("kind", KINDS)
    def test_it_learns_and_is_asked_about_held_out_documents(self, runs: dict[str, Run], kind: str):
        losses = [line["loss"] for line in read_json_lines(runs[kind].metrics)]
        assert losses[-1] < losses[0]
        (result,) = read_json_lines(runs[kind].results)
        asked = {name for name in result["metrics"] if name.endswith("_accuracy")}
        assert asked == {f"{objective['kind']}_accuracy" for objective in OBJECTIVES[kind]}

    @pytest.mark.parametrize("kind", KINDS)
    def test_its_report_shows_passages_and_speaks_of_no_pictures(self, runs: dict[str, Run], passages: Path, kind: str):
        page = write_report(runs[kind]).read_text()
        text = " ".join(page.split())
        assert "Not evaluated yet" not in text
        assert ("hidden words" if kind == "bidirectional" else "next words") in text
        first = next(iter(Dataset(str(passages), "train").samples())).caption
        assert first in html.unescape(page)
        assert "data:image/png" not in page
        # passages speak of whatever they like, and a config has settings for pictures too
        own = re.sub(r"<(style|blockquote)\b.*?</\1>|<[^>]*>", "", text.partition('id="settings"')[0])
        for word in ("pairs", "picture", "R@", "caption", "image →", "Searches"):
            assert word not in own, own[max(0, own.index(word) - 100) :][:200]

    def test_words_hidden_in_both_passages_of_a_pair_are_shown(self, runs: dict[str, Run], passages: Path):
        (split,) = build_written(read_folder(runs["bidirectional"])) or []
        following = {plain(sample.following) for sample in Dataset(str(passages), "val").samples()}
        hidden = {True: 0, False: 0}
        for sample in split.samples:
            told = sample["words"]
            start = next(place for place, word in enumerate(told) if "second" in word)
            first, second = (plain("".join(word["word"] for word in part)) for part in (told[:start], told[start:]))
            # the context cuts some passages
            assert plain(sample["caption"]).startswith(first)
            assert any(text.startswith(second) for text in following)
            for place, word in enumerate(told):
                hidden[place < start] += "guess" in word
        assert all(hidden.values()), "in first and in second passages"
        assert split.words.endswith(f" of {sum(hidden.values())} hidden words found again")
        page = write_report(runs["bidirectional"]).read_text()
        assert split.words in page
        assert page.count("Two passages stand together") == 1
        assert "Two passages stand together" not in write_report(runs["causal"]).read_text()

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_dry_run_tries_it_without_writing(self, passages: Path, tmp_path: Path, kind: str):
        console = Console(record=True, width=150, file=io.StringIO())
        dry_run(write_config(tmp_path, passages, kind, "dry"), [], console)
        told = console.export_text()
        assert "texts" in told
        assert "pairs" not in told
        assert not (tmp_path / "runs").exists()

    def test_what_it_cannot_be_asked_is_refused_by_name(self, runs: dict[str, Run]):
        place = runs["causal"].folder
        with pytest.raises(ConfigError, match="retrieval compares features that no objective trains"):
            evaluate(place, "retrieval", ":val", [], None)
        again = evaluate(place, "held_out", ":val", [], None)["metrics"]
        assert again == read_json_lines(runs["causal"].results)[0]["metrics"]

    @pytest.mark.processes
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_killed_run_ends_as_one_that_was_never_killed(self, passages: Path, tmp_path: Path, kind: str):
        options = {"steps": 120, "save_every": 10, "log_every": 10}
        whole = pretrain(write_config(tmp_path, passages, kind, "whole", **options), [], "auto", QUIET).folder
        config = write_config(tmp_path, passages, kind, "killed", **options)
        folder = tmp_path / "runs" / "killed"
        process = subprocess.Popen(
            [sys.executable, "-m", "mmpretrain", "pretrain", str(config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        deadline = time.monotonic() + 60
        while not (folder / "checkpoints" / "step_00000020" / "manifest.json").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        assert not (folder / "complete").exists()
        pretrain(config, [], "auto", QUIET)
        one, other = (
            load_tensors(place / "checkpoints" / "step_00000120" / "weights.safetensors") for place in (whole, folder)
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


class TestLooking:
    def test_whole_documents_are_held_out(self, passages: Path):
        card = load_card(passages)
        assert (card.image, card.next, card.text_group) == ([], "next", "document")
        documents = {
            split: {sample.facts["document"] for sample in Dataset(str(passages), split).samples()}
            for split in card.splits
        }
        assert len(documents) == 3
        assert len(set.union(*documents.values())) == sum(map(len, documents.values()))

    def test_check_finds_no_picture_in_two_splits(self, passages: Path):
        facts = facts_of("data", "check", passages)
        assert facts["errors"] == 0
        assert not {problem["kind"] for problem in facts["problems"]} & {"leak_picture", "near_picture"}
        assert "no picture" not in invoke("data", "check", passages)

    def test_check_finds_documents_and_texts_in_two_splits(self, tmp_path: Path):
        for name in ("train", "val"):
            rows = [{"__key__": f"{name}{n}", "txt": f"text {n}".encode(), "json": b"{}"} for n in range(3)]
            write_tar(tmp_path / f"{name}.tar", rows[: 2 if name == "val" else 3])
        splits = {"train": (["train.tar"], 3), "val": (["val.tar"], 2)}
        write_card(tmp_path, splits, image=None, text_group=None, label=None, gallery=None, classes=[])
        answer = CliRunner().invoke(cli, ["data", "check", str(tmp_path), "--json"])
        assert isinstance(answer.exception, DataError)
        found = {problem["kind"]: problem["count"] for problem in json.loads(answer.stdout)["problems"]}
        assert found == {"leak_text": 2, "near_caption": 2}

    def test_stats_count_words_and_show_passages(self, passages: Path):
        facts = facts_of("data", "stats", passages, "--sample", "60")
        assert max(map(int, facts["words"])) <= 16
        assert set(facts["copies"]) == {"caption"}
        page = " ".join(Path(facts["page"]).read_text().split())
        assert "<blockquote" in page
        assert "data:image" not in page
        assert "Words in a text" in page
        output = invoke("data", "stats", passages, "--sample", "60")
        assert "px" not in output
        assert "equal texts" in output

    def test_dedup_drops_equal_texts(self, tmp_path: Path):
        texts = ["Once upon a time.", "once upon a time", "Another one.", "Once upon a time."]
        write_tar(tmp_path / "a.tar", [{"__key__": f"k{n}", "txt": text.encode()} for n, text in enumerate(texts)])
        plain = {"text_group": None, "label": None, "gallery": None, "classes": []}
        write_card(tmp_path, {"train": (["a.tar"], 4)}, image=None, **plain)
        facts = facts_of("data", "dedup", tmp_path)
        assert {kind: row["surplus"] for kind, row in facts["kinds"].items()} == {"bytes": 1, "caption": 2}
        assert facts["kept"] == len(read_uids(Path(facts["keep_list"]))) == 2
        assert "picture" not in invoke("data", "dedup", tmp_path)

    def test_show_draws_texts_with_what_follows_them(self, passages: Path, runs: dict[str, Run]):
        facts = facts_of("data", "show", passages, "--batch", "6")
        assert len(facts["rows"]) == 6
        assert "--size" in invoke("data", "show", passages, "--size", "32", fails=ConfigError)
        assert all(row["caption"] and row["next"] for row in facts["rows"])
        assert Image.open(facts["sheet"]).size[0] > 500
        assert len(facts_of("data", "show", runs["causal"].folder, "--step", "2")["rows"]) == 16

    def test_the_order_is_the_same_for_any_ranks(self, passages: Path, runs: dict[str, Run]):
        digests = [invoke("data", "order", passages, "--sha256", "--ranks", ranks, "--batch", "6") for ranks in (1, 3)]
        assert digests[0] == digests[1]
        assert "steps 0:3" in invoke("data", "order", runs["bidirectional"].folder, "--steps", "0:3", "--sha256")

    def test_contamination_is_by_texts(self, passages: Path):
        facts = facts_of("data", "contamination", f"{passages}:train", f"{passages}:val")
        assert set(facts["kinds"]) == {"caption"}
        told = invoke("data", "contamination", f"{passages}:train", f"{passages}:val")
        assert "texts of" in told
        assert "picture" not in told

    def test_filters_of_pictures_are_refused_and_those_of_texts_work(self, passages: Path, tmp_path: Path):
        arguments = ("data", "filter", f"{passages}:train", "--uids", tmp_path / "kept.tsv", "--keep")
        for kind in ("basic", "clip_score"):
            more = ["clip_score.run=x"] if kind == "clip_score" else []
            assert "holds texts alone" in invoke(*arguments, kind, *more, fails=ConfigError)
        (tmp_path / "words").write_text("the\n")
        facts = facts_of(*arguments, "text_based", f"text_based.words={tmp_path / 'words'}")
        assert 0 < facts["kept"] < facts["samples"]
