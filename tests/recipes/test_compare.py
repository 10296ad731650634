"""Two runs side by side: searches query by query, everything else sample by sample, and what is no comparison."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.stats import permutation_test

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines, write_atomic
from mmpretrain.core.run import Run
from mmpretrain.recipes.compare import Searched, compare, mean_by_picture, paired, parts_of
from mmpretrain.recipes.compare_samples import sign_flip_p
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar
from tests.masks import pack_boxes

QUIET = Console(quiet=True)


def invoke(*arguments: object) -> str:
    answer = CliRunner().invoke(cli, ["compare", *map(str, arguments)])
    assert answer.exception is None, answer.output
    return answer.output


def test_two_recipes_are_compared_query_by_query_and_sample_by_sample(toy_config: ConfigWriter):
    runs = [pretrain(toy_config(name, train__seed=seed), [], "auto", QUIET).folder for seed, name in enumerate("abc")]
    records = json.loads(invoke(runs[0], runs[1], "--to", runs[2], "--json"))
    searches = [f"{d}_R@{k}" for d in ("i2t", "t2i", "mean") for k in (1, 5, 10)]
    assert [record["metric"] for record in records] == [*searches, "acc1"]
    for record in records:
        value = record["difference"]
        assert value["value"] == pytest.approx(record["ours"] - record["theirs"])
        assert value["low"] <= value["value"] <= value["high"]
    assert records[-1]["task"] == "zero_shot"
    assert 0 < records[-1]["p"] <= 1
    assert "± standard deviation over 2 and 1 runs" in invoke(runs[0], runs[1], "--to", runs[2])
    told = json.loads(invoke(runs[0], runs[1], "--json"))
    assert told == json.loads(invoke(runs[0], "--to", runs[1], "--json")), "two runs need no --to"
    same = json.loads(invoke(runs[0], runs[0], "--json"))
    assert same[-1]["p"] == same[0]["p"] == 1.0
    side_by_side(runs)
    file = Run(runs[1]).predictions / "retrieval_val.json"
    kept = json.loads(file.read_text())
    kept["ranks"][0] = {name: each[:-1] if isinstance(each, list) else each for name, each in kept["ranks"][0].items()}
    file.write_text(json.dumps(kept))
    for pair in ([runs[:2], runs[2:]], [runs[:1], runs[1:2]]):
        with pytest.raises(ConfigError, match=r"b searched val with other queries or galleries than .*/a;"):
            compare(*pair, QUIET)


def side_by_side(runs: list[Path]) -> None:
    """A page and a table of three runs, each a recipe of its own."""
    page, rows = runs[0].parent / "out" / "page.html", runs[0].parent / "out" / "rows.csv"
    told = invoke(*runs, "--html", page, "--csv", rows)
    assert "a against b" in told
    assert "a against c" in told
    source = page.read_text()
    assert "a against c" in source
    assert "train.seed" in source
    assert "<script" not in source
    assert not set(re.findall(r"(?:src|href)=\"(?!data:|#)", source))
    with rows.open(newline="") as file:
        found = list(csv.DictReader(file))
    figures = [row for row in found if row["kind"] == "figure"]
    assert {row["runs"] for row in figures} == {"a", "b", "c"}
    one, other = (
        next(float(r["value"]) for r in figures if (r["runs"], r["metric"]) == (run, "i2t_R@1")) for run in "ac"
    )
    (row,) = [r for r in found if r["kind"] == "difference" and (r["against"], r["metric"]) == ("c", "i2t_R@1")]
    assert float(row["value"]) == pytest.approx(one - other)
    assert float(row["low"]) <= float(row["value"]) <= float(row["high"])
    assert 0 < float(row["p"]) <= 1


@given(st.integers(0, 99), st.integers(1, 10))
@settings(max_examples=20, deadline=None)
def test_what_pictures_add_to_a_difference_sums_up_to_it(seed: int, k: int):
    generator = np.random.default_rng(seed)
    sides = []
    owners = {"ada": np.sort([*range(6), *generator.integers(0, 6, 3)]), "eve": np.arange(4)}
    sizes = {"ada": 6, "eve": 4}
    for _ in range(2):
        sides.append(
            {
                **{("i2t", g): Searched(generator.integers(0, 12, (2, n)), np.arange(n)) for g, n in sizes.items()},
                **{("t2i", g): Searched(generator.integers(0, 12, (2, len(o))), o) for g, o in owners.items()},
            }
        )
    for directions in (("i2t",), ("t2i",), ("i2t", "t2i")):
        parts = parts_of(*sides, directions, k)
        assert len(parts) == 10
        assert parts.sum() == pytest.approx(paired(*sides, directions, k).value)


def test_splits_of_one_name_in_two_datasets_are_compared_each_by_itself(
    toy_config: ConfigWriter, shapes: Path, tmp_path: Path
):
    other = tmp_path / "fewer"
    other.mkdir()
    write_tar(other / "val-00000.tar", toy_samples(5, "eve"))
    write_card(other, {"val": (["val-00000.tar"], 5)})
    both = [{"kind": "retrieval", "split": split} for split in ("val", f"{other}:val")]
    folder = pretrain(toy_config("a", evaluation=both), [], "auto", QUIET).folder
    records = json.loads(invoke(folder, folder, "--json"))
    chances = {record["split"]: record["chance"] for record in records if record["metric"] == "i2t_R@1"}
    assert chances == {"val": pytest.approx(1 / 13), "fewer-val": pytest.approx(1 / 5)}


def test_runs_of_text_alone_are_compared_by_what_their_objectives_ask_batch_by_batch(toy_config: ConfigWriter):
    words = {
        "towers": {"image": None, "text": {"kind": "bidirectional", "width": 16, "layers": 1, "heads": 2}},
        "objectives": [{"kind": "masked_language", "share": 0.4}],
        "evaluation": [{"kind": "held_out", "split": "val"}],
    }
    seeds = {"a": 0, "b": 1}
    runs = [
        pretrain(toy_config(name, train__seed=seed, **words), [], "auto", QUIET).folder for name, seed in seeds.items()
    ]
    records = json.loads(invoke(*runs, "--json"))
    assert [each["metric"] for each in records] == ["masked_language_loss", "masked_language_accuracy"]
    results = [read_json_lines(Run(run).results)[-1]["metrics"] for run in runs]
    for record in records:
        own, other = (each[record["metric"]]["value"] for each in results)
        assert (record["ours"], record["theirs"]) == pytest.approx((own, other))
    config = Run(runs[1]).config
    write_atomic(config, re.sub(r"context_length: \d+", "context_length: 7", config.read_text()))
    with pytest.raises(ConfigError, match=r"only runs with the same data\.tokenizer are asked the same"):
        compare([runs[0]], [runs[1]], QUIET)


def test_runs_without_a_common_split_are_not_compared(toy_config: ConfigWriter):
    with_results = pretrain(toy_config("a"), [], "auto", QUIET).folder
    without = pretrain(toy_config("b", evaluation=[]), [], "auto", QUIET).folder
    with pytest.raises(ConfigError, match="no evaluated split in common"):
        compare([with_results], [without], QUIET)


def test_one_run_alone_is_no_comparison():
    answer = CliRunner().invoke(cli, ["compare", "here"])
    assert answer.exit_code == 2
    assert "name two runs" in answer.output


def test_a_recipe_does_not_differ_from_itself():
    ranks = np.array([[0, 9, 0, 9, 0]])
    searches = {(direction, ""): Searched(ranks, np.arange(5)) for direction in ("i2t", "t2i")}
    difference = paired(searches, searches, ("i2t", "t2i"), 1)
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_the_texts_of_a_picture_are_drawn_with_it():
    """Both directions agree on every picture: their mean scatters as much as one of them."""
    ranks_P = np.array([[0, 9] * 20])
    pictures_T = np.repeat(np.arange(40), 3)
    one = {("i2t", ""): Searched(ranks_P, np.arange(40)), ("t2i", ""): Searched(ranks_P[:, pictures_T], pictures_T)}
    other = {key: Searched(np.full_like(each.ranks, 9), each.pictures) for key, each in one.items()}
    both, alone = paired(one, other, ("i2t", "t2i"), 1), paired(one, other, ("i2t",), 1)
    assert both.value == alone.value == 0.5
    assert (both.low, both.high) == pytest.approx((alone.low, alone.high))
    assert both.n == 160


def test_texts_weigh_the_same_whichever_picture_they_belong_to():
    mean = mean_by_picture(np.array([1.0, 0.0, 0.0]), np.array([0, 1, 1]))
    assert mean(np.array([[1.0, 1.0], [2.0, 0.0]])) == pytest.approx([1 / 3, 1.0])


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9))
@settings(max_examples=25, deadline=None)
def test_the_p_value_is_that_of_an_exact_sign_flip_test(differences: list[int]):
    values = np.array(differences, dtype=float)
    exact = permutation_test(
        (values,),
        lambda x, axis: np.abs(x.mean(axis=axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=np.inf,
    ).pvalue
    assert sign_flip_p(values) == pytest.approx(exact, abs=0.02)


def test_p_values_hold_their_level_where_nothing_differs():
    generator = np.random.default_rng(1)
    found = [sign_flip_p(generator.normal(size=30)) for _ in range(200)]
    assert np.mean(np.array(found) < 0.05) < 0.1


def test_figures_of_other_rules_or_other_samples_are_not_compared(toy_config: ConfigWriter, shapes: Path):
    runs = [pretrain(toy_config(name, evaluation=[]), [], "auto", QUIET).folder for name in "ab"]
    for run in runs:
        evaluate(run, "zero_shot", ":val", [], None)
    results = runs[1] / "results.jsonl"
    record = json.loads(results.read_text())
    write_atomic(results, json.dumps(record | {"tokenizer": "ptb"}) + "\n")
    with pytest.raises(ConfigError, match=r"scored with tokenizer None in .* and with ptb"):
        compare([runs[0]], [runs[1]], QUIET)
    write_atomic(results, json.dumps(record) + "\n")
    lines = runs[1] / "predictions" / "zero_shot_val.jsonl"
    write_atomic(lines, "".join(lines.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ConfigError, match="asked about other samples of zero_shot_val"):
        compare([runs[0]], [runs[1]], QUIET)


def test_masks_of_two_recipes_are_compared_by_their_sums_over_the_same_pictures(
    toy_config: ConfigWriter, tmp_path: Path
):
    shared = {
        "data__name": str(pack_boxes(tmp_path, train=12, val=7)),
        "objectives": [{"kind": "segmentation", "width": 16}],
        "evaluation": [{"kind": "segmentation", "split": "val"}],
    }
    runs = [
        pretrain(toy_config(name, **shared, train__seed=seed), [], "never", QUIET).folder
        for seed, name in enumerate("ab")
    ]
    records = {each["metric"]: each for each in compare([runs[0]], [runs[1]], QUIET)}
    results = [read_json_lines(run / "results.jsonl")[-1]["metrics"]["mIoU"]["value"] for run in runs]
    whole = records["mIoU"]
    assert [whole["ours"], whole["theirs"]] == pytest.approx(results, abs=1e-4)
    assert whole["difference"]["value"] == pytest.approx(results[0] - results[1], abs=1e-4)
    assert whole["difference"]["low"] <= whole["difference"]["value"] <= whole["difference"]["high"]
    assert whole["p"] is None
    assert set(records) >= {"mIoU", "foreground_IoU"}
    (same,) = [each for each in compare([runs[0]], [runs[0]], QUIET) if each["metric"] == "mIoU"]
    assert [same["difference"][end] for end in ("low", "value", "high")] == [0, 0, 0]
