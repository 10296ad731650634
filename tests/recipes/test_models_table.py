"""`mmpretrain models`: runs, exports and configs as rows; conditions, order, CSV, and damaged folders told as such."""

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors import safe_open

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.recipes.catalogue.entry import Entry, Latency, Score
from mmpretrain.recipes.catalogue.filters import NUMBERS, ordered, read_condition
from mmpretrain.recipes.catalogue.of_config import of_config, of_model
from mmpretrain.recipes.models import show
from mmpretrain.recipes.settings import ROOT
from tests.conftest import ConfigWriter
from tests.export.runs import export, train

EXTERNAL = re.compile(r"""(src|href)=["']https?:""")


def models(*arguments: object) -> list[dict[str, Any]]:
    answer = CliRunner().invoke(cli, ["models", *map(str, arguments), "--json"])
    if answer.exception is not None:
        raise answer.exception
    rows: list[dict[str, Any]] = json.loads(answer.output)
    return rows


def test_runs_and_exports_are_rows_that_say_what_they_can_do_and_what_they_weigh(
    toy_config: ConfigWriter, tmp_path: Path
) -> None:
    run = train(toy_config, evaluation=[{"kind": "retrieval", "split": "val"}])
    exports = tmp_path / "exports"
    export(run, "--to", "huggingface", "--out", exports / "hub")
    export(run, "--to", "open_clip", "--out", exports / "clip")
    files = [file for folder in (run / "checkpoints", exports) for file in folder.rglob("*") if file.is_file()]
    assert len({file.stat().st_mode for file in files}) == 1, "who may read one may read the weights"
    card = exports / "hub" / "README.md"
    card.write_text(card.read_text().replace("---\n", "---\nlicense: mit\n", 1))
    damaged = shutil.copytree(run, run.with_name("damaged"))
    (damaged / "config.yaml").write_text("towers: [")
    stopped = shutil.copytree(run, run.with_name("stopped"))
    (stopped / "complete").unlink()
    rows = {Path(row["name"]).name: row for row in models(run.parent, exports)}
    assert {name: row["kind"] for name, row in rows.items()} == {
        run.name: "run",
        "damaged": "run",
        "stopped": "run",
        "hub": "huggingface",
        "clip": "open_clip",
    }
    whole = rows[run.name]
    with safe_open(next((run / "checkpoints").glob("step_*")) / "weights.safetensors", "pt") as file:
        names = file.keys()
        assert whole["parts"]["text"] == sum(
            math.prod(file.get_slice(name).get_shape()) for name in names if name.startswith("model.text.")
        )
    for name in ("hub", "clip"):
        assert rows[name]["tasks"] == whole["tasks"] == ["retrieval", "zero-shot"]
        assert rows[name]["parameters"] == whole["parameters"] - whole["parts"]["objectives"]
        assert rows[name]["score"] == whole["score"], "the export takes it along"
        assert (rows[name]["pixels"], rows[name]["tokens"]) == (whole["pixels"], whole["tokens"])
    assert (rows["hub"]["weights_licence"], rows["clip"]["weights_licence"]) == ("mit", "")
    assert whole["score"]["on"].endswith(":val")
    assert whole["score"]["low"] <= whole["score"]["value"] <= whole["score"]["high"]
    assert whole["modality"] == "image + text"
    assert rows["damaged"]["state"].startswith("damaged: ")
    assert rows["stopped"]["state"] == "step 1 of 1"
    assert_latency_is_measured_once(run, exports)
    file = tmp_path / "rows.csv"
    assert len(models(run.parent, "--filter", "state!=damaged", "--filter", "mb>0", "--csv", file)) == 2
    with file.open() as opened:
        assert [row["tasks"] for row in csv.DictReader(opened)] == ["retrieval|zero-shot"] * 2
    models(run.parent, exports, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert all(f">{name}<" in page for name in rows)
    assert "<script" not in page
    assert not EXTERNAL.search(page)


def assert_latency_is_measured_once(run: Path, exports: Path) -> None:
    """And stands beside the weights from then on; weights that cannot be read are a row that says so."""
    (exports / "clip" / "open_clip_model.safetensors").write_bytes(b"no weights")
    measured = {Path(row["name"]).name: row for row in models(run, exports, "--latency", "--sort", "image_ms")}
    assert measured["clip"]["latency"] is None
    assert measured["clip"]["state"].startswith("not measured: ")
    for name in (run.name, "hub"):
        assert measured[name]["latency"]["image"]["1"] > 0 < measured[name]["latency"]["text"]["32"]
    again = {Path(row["name"]).name: row["latency"] for row in models(run, exports)}
    assert again == {name: row["latency"] for name, row in measured.items()}


@pytest.mark.parametrize("width", [60, 100, 160, 240])
def test_a_table_has_the_columns_that_its_terminal_has_room_for(width: int) -> None:
    entries = [
        *(
            replace(
                ENTRIES[1],
                place="runs",
                name=f"runs/large-{n}",
                licences=["Apache-2.0", "CC-BY-SA-4.0"],
                parts={"image": 20_000_000, "text": 10_000_000},
            )
            for n in range(3)
        ),
        Entry(
            name="runs/broken-at-some-step-of-a-long-night",
            place="runs",
            kind="run",
            state="damaged: config.yaml: " + "it ends early " * 20,
        ),
        Entry(name="quickstart", place="configs/pretrain", kind="config", parameters=7, licences=["MIT"]),
    ]
    console = Console(width=width, file=io.StringIO())
    show(entries, together=False, console=console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, said.splitlines())) <= width
    assert "…" not in said, "nothing is cut off"
    show(entries, together=True, console=console)
    together = console.file.getvalue().removeprefix(said)  # type: ignore[attr-defined]
    assert "…" not in together
    assert "pretrain/quickstart" in together.replace("\n", "") or width < 100
    first, second = said.split("configs/pretrain")
    assert "large-2" in first
    assert "runs/large-2" not in first
    assert ("95 % interval" in first) == (width >= 100)
    assert ("licences of data" in first) == (width >= 160)
    assert ("image 20" in first) == (width >= 160)
    assert "score" not in second, "of a config nothing is known of it"
    assert first.split().count("early") == 20


def test_steps_of_a_compression_have_the_scores_that_it_found(toy_config: ConfigWriter, tmp_path: Path) -> None:
    run = train(toy_config)
    step = shutil.copytree(run, tmp_path / "smaller" / "1-prune")
    shutil.copytree(run, tmp_path / "smaller" / "scores" / "original")
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": 0.1, "n": 13}
    row = {"folder": "elsewhere/1-prune", "scores": {"i2t_R@10": figure, "t2i_R@10": {**figure, "value": 0.7}}}
    (step.parent / "compress.json").write_text("{}")
    int8 = step.parent / "2-int8"
    int8.mkdir()
    (int8 / "preprocess.json").write_text('{"size": 32, "context_length": 12}')
    (int8 / "export_report.json").write_text(json.dumps({"run": str(step), "step": 1}))
    more = {"folder": "2-int8", "parameters": 900, "scores": {}}
    (step.parent / "table.json").write_text(json.dumps({"split": "shapes:val", "rows": [row, more]}))
    found, quantized = models(step.parent)
    assert (quantized["parameters"], quantized["licences"]) == (900, found["licences"])
    assert (found["score"]["value"], found["score"]["on"]) == (pytest.approx(0.6), "shapes:val")


def test_configs_and_models_by_name_are_counted_without_memory() -> None:
    minilm = of_model(ROOT / "models" / "minilm.yaml")
    assert minilm.parameters == 22_713_216 - (384 * 384 + 384), "the published checkpoint without its pooler"
    quickstart = of_config(ROOT / "pretrain" / "quickstart.yaml")
    assert (quickstart.parameters, quickstart.pixels, quickstart.tokens) == (7_353_424, 64, 32)
    assert quickstart.languages == ["en"]
    assert "CC-BY-4.0" in quickstart.licences
    category = of_config(ROOT / "finetune" / "emoji_category.yaml")
    assert (category.modality, category.tasks, category.tokens) == ("image", ["classes"], None)


ENTRIES = [
    Entry(name="runs/small", kind="run", tasks=["captions"], parameters=900_000, licences=["MIT"]),
    Entry(
        name="runs/large",
        kind="run",
        tasks=["retrieval", "zero-shot"],
        parameters=30_000_000,
        score=Score(task="retrieval", on="emoji:val", metrics=["i2t_R@10"], value=0.4, low=0.3, high=0.5, chance=0.1),
        latency=Latency(image={"1": 2.5}, text={"1": 1.0}, processor="", threads=1, date=""),
    ),
    Entry(name="models/unknown", kind="model"),
]
HOLDS = [
    ("parameters<10M", ["runs/small"]),
    ("parameters >= 900k", ["runs/small", "runs/large"]),
    ("parameters!=900k", ["runs/large"]),
    ("task=caption", ["runs/small"]),
    ("task!=captions", ["runs/large", "models/unknown"]),
    ("name=RUNS/", ["runs/small", "runs/large"]),
    ("image_ms<3", ["runs/large"]),
    ("score>.3", ["runs/large"]),
    ("licence=MIT", ["runs/small"]),
]


@pytest.mark.parametrize(("condition", "names"), HOLDS)
def test_a_condition_keeps_rows_of_which_it_is_known_to_hold(condition: str, names: list[str]) -> None:
    wanted = read_condition(condition)
    assert [entry.name for entry in ENTRIES if wanted.holds(entry)] == names


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("parameters", "a condition reads task=captions or parameters<10M"),
        ("paramters<3", "unknown key 'paramters'; did you mean 'parameters'"),
        ("task<3", "task is a word; compare it with = or !="),
        ("mb<large", "'large' is no number such as 0.4, 250k or 10M"),
    ],
)
def test_what_is_no_condition_is_refused_with_what_may_stand_there(condition: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_condition(condition)


@given(st.sampled_from([*NUMBERS, "name", "task"]), st.booleans(), st.permutations(ENTRIES))
def test_rows_are_ordered_and_those_of_which_nothing_is_known_stand_last(
    key: str, down: bool, entries: list[Entry]
) -> None:
    found = ordered(entries, f"-{key}" if down else key)
    assert sorted(entry.name for entry in found) == sorted(entry.name for entry in ENTRIES)
    if key in NUMBERS:
        values = [NUMBERS[key](entry) for entry in found]
        known = [value for value in values if value is not None]
        assert known == sorted(known, reverse=down)
        assert values[: len(known)] == known


def test_a_folder_that_is_not_there_and_a_key_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere: no such folder; name one with runs or exports"):
        models(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="--sort: unknown key 'size'"):
        models(tmp_path, "--sort", "size")
