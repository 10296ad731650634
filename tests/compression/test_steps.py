"""Every step of the union, through the command: what it leaves loads, is scored, and is smaller or says why not."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.compression.magnitude import Magnitude
from mmpretrain.compression.steps import StepSettings
from mmpretrain.compression.vocabulary import without_unused
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import kinds_of
from mmpretrain.data.tokenizer import ClipTokenizer
from mmpretrain.data.training import TrainingData
from mmpretrain.recipes.compress import read_compress
from mmpretrain.recipes.compressing import steps as stepping
from mmpretrain.recipes.compressing.surgery import work_of, write_run
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.opened import Opened, open_best
from tests.compression.runs import train
from tests.conftest import ConfigWriter

KINDS = [kind for variant in get_args(get_args(StepSettings)[0]) for kind in kinds_of(variant)]
SHORT: dict[str, dict[str, Any]] = {
    "prune": {"share": 0.3, "batches": 1, "multiple_of": 2},
    "vocabulary": {},
    "magnitude": {"share": 0.5},
    "retrain": {"steps": 3},
    "quantize": {"batches": 1},
}


def invoke(run: Path, config: Path, out: Path, *more: str) -> Any:
    arguments = ["compress", str(run), str(config), "--out", str(out), "--json", "rounds=1", "batch=4", *more]
    answer = CliRunner().invoke(cli, arguments)
    if answer.exception is not None:
        raise answer.exception
    return json.loads(answer.stdout)


def config_of(tmp_path: Path, *steps: dict) -> Path:
    file = tmp_path / "steps.yaml"
    file.write_text(json.dumps({"steps": list(steps)}))
    return file


def test_every_kind_has_short_settings_here():
    assert set(SHORT) == set(KINDS)


def test_all_steps_in_one_chain_leave_runs_that_load_a_table_and_a_page(run: Path, tmp_path: Path):
    order = ("vocabulary", "prune", "magnitude", "retrain", "quantize")
    config = config_of(tmp_path, *({"kind": kind, **SHORT[kind]} for kind in order))
    out = tmp_path / "out"
    facts = invoke(run, config, out)
    rows = {row["name"]: row for row in facts["rows"]}
    assert list(rows) == ["original", "1-vocabulary", "2-prune", "3-magnitude", "4-retrain", "5-onnx", "5-int8"]
    assert rows["1-vocabulary"]["bytes"] < rows["original"]["bytes"] / 2.5
    assert rows["2-prune"]["parameters"] < rows["1-vocabulary"]["parameters"]
    assert rows["2-prune"]["flops"] < rows["1-vocabulary"]["flops"]
    assert rows["3-magnitude"]["bytes"] == pytest.approx(rows["2-prune"]["bytes"], rel=0.01)
    assert rows["3-magnitude"]["gzip_bytes"] < 0.8 * rows["2-prune"]["gzip_bytes"]
    # what was zero stays zero while the rest learns
    assert rows["4-retrain"]["zeros"] >= rows["3-magnitude"]["zeros"] > 0.3
    assert rows["5-int8"]["bytes"] < rows["5-onnx"]["bytes"]
    for name in list(rows)[1:]:
        assert rows[name]["drops"]["mean_R@10"]["n"] > 0
        assert rows[name]["times"]["p50_ms"] > 0
    for name in ("1-vocabulary", "2-prune", "3-magnitude", "4-retrain"):
        record = evaluate(Path(rows[name]["folder"]), "retrieval", ":val", (), None)
        figure = record["metrics"]["i2t_R@10"]["value"]
        assert figure == pytest.approx(rows[name]["scores"]["i2t_R@10"]["value"])
    page = (out / "compression.html").read_text()
    assert "5-int8" in page
    assert "http" not in page.replace("http-equiv", "")
    assert json.loads((out / "table.json").read_text())["rows"] == facts["rows"]
    assert not list(out.glob("*.tmp"))
    assert not list(out.glob("*.yaml"))


def test_the_same_command_goes_on_where_it_was_and_another_one_is_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = config_of(tmp_path, {"kind": "vocabulary"}, {"kind": "magnitude"})
    out = tmp_path / "out"

    def fail(step: Magnitude, work: Any) -> Any:
        raise ConfigError("the machine went away")

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="went away"):
        patch.setattr(Magnitude, "apply", fail)
        invoke(run, config, out)
    assert sorted(path.name for path in out.iterdir()) == ["1-vocabulary", "compress.json", "rows.jsonl", "scores"]
    before = (out / "1-vocabulary" / "config.yaml").stat().st_mtime_ns
    # a step that failed may be another one when the command comes again
    assert len(invoke(run, config, out, "steps.1.share=0.6")["rows"]) == 3
    assert (out / "1-vocabulary" / "config.yaml").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="name another"):
        invoke(run, config, out, "steps.1.share=0.3")
    with pytest.raises(ConfigError, match="name another"):
        invoke(run, config_of(tmp_path, {"kind": "vocabulary"}), out)


def test_a_step_that_fails_leaves_nothing_of_itself(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = config_of(tmp_path, {"kind": "prune", "share": 0.99, "batches": 1})
    monkeypatch.setattr(stepping.measured, "times", lambda *_: {"original": {"p50_ms": 1.0, "pairs_per_second": 1.0}})
    with pytest.raises(ConfigError, match="at most"):
        invoke(run, config, tmp_path / "out")
    # the row of the original was done, and nothing else is there
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["compress.json", "rows.jsonl", "scores"]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([{"kind": "shrink"}], "unknown kind 'shrink'"),
        ([{"kind": "prune", "share": 1.5}], "share"),
        ([{"kind": "prune", "what": ["layers"]}], "what"),
        ([{"kind": "quantize"}, {"kind": "prune"}], "stands behind quantize"),
        ([], "steps"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_before_anything_is_read(tmp_path: Path, steps: list, told: str):
    with pytest.raises(ConfigError, match=told):
        read_compress(str(config_of(tmp_path, *steps)), [])


def test_an_unknown_config_is_named_with_those_that_there_are():
    with pytest.raises(ConfigError, match="did you mean 'smaller'"):
        read_compress("smalle", [])


@torch.no_grad()
def test_a_smaller_vocabulary_keeps_the_vectors_of_texts_made_of_its_pieces(opened: Opened, tmp_path: Path):
    texts = ["a red square", "a grey frame", "a blue dot and a green stripe"]
    changed = without_unused(work_of(opened))
    write_run(opened, changed, tmp_path / "small", tmp_path / "small")
    small = open_best(tmp_path / "small")
    assert small.tokenizer.vocabulary == changed.facts["words"][1] < 1000
    theirs = opened.module.model.embed_texts(*opened.tokenizer(texts[:2]))
    torch.testing.assert_close(small.module.model.embed_texts(*small.tokenizer(texts[:2])), theirs)
    # a word that training never saw falls into pieces, and none of them is left out
    assert small.tokenizer.decode(small.tokenizer(["zebra"])[0][0, 1:-1].tolist()) == "zebra"


def test_words_that_a_head_predicts_leave_with_the_others(toy_config: ConfigWriter, tmp_path: Path):
    clip = {"kind": "clip", "context_length": 12}
    run = train(toy_config, data__tokenizer=clip, objectives=[{"kind": "contrastive"}, {"kind": "masked_language"}])
    given = open_best(run)
    write_run(given, without_unused(work_of(given)), tmp_path / "small", tmp_path / "small")
    small = open_best(tmp_path / "small")
    head = small.module.objectives[1].head
    assert len(head.bias_V) == small.tokenizer.vocabulary < given.tokenizer.vocabulary
    with pytest.raises(ConfigError, match="use all"):
        without_unused(work_of(small))


def test_a_smaller_vocabulary_is_that_of_a_run_which_asks_for_words_seen(opened: Opened):
    data = replace(opened.config.data, workers=0)
    changed = without_unused(work_of(opened))
    built = ClipTokenizer(context_length=12, words="seen").build(TrainingData(data).captions())
    assert built.to_json() == changed.tokenizer.to_json()
