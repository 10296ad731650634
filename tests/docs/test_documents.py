import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from mmpretrain.__main__ import cli
from mmpretrain.compression.wording import markdown
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.settings import build, load, read_yaml
from mmpretrain.data.card import find_dataset, load_card
from mmpretrain.recipes import bench_speed, bench_tasks
from mmpretrain.recipes.compress import read_compress
from mmpretrain.recipes.configs import diff, schema, show
from mmpretrain.recipes.readme_table import place_of
from mmpretrain.recipes.settings import VERBS, load_pretrain
from mmpretrain.towers.model import Towers
from tests.faults.table import PLACE, RESULTS, table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CONFIGS = [path for verb in VERBS for path in sorted((ROOT / "configs" / verb).glob("*.yaml"))]
MODELS = sorted((ROOT / "configs" / "models").glob("*.yaml"))
COMPRESSIONS = sorted((ROOT / "configs" / "compress").glob("*.yaml"))
CARDS = sorted((ROOT / "data_shards").rglob("dataset.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_strictly_and_opens_with_its_command_and_hardware(path: Path):
    load_pretrain(path)
    header = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert "mmpretrain" in header
    assert re.search(r"20\d\d-\d\d-\d\d", header), "the date of its figures"
    assert "cores" in header, "the hardware of its figures"


def test_configs_lie_in_the_folder_of_their_verb_and_models_in_one_of_their_own():
    assert {path.parent.name for path in (ROOT / "configs").rglob("*.yaml")} == {*VERBS, "models", "compress"}
    names = [path.stem for path in CONFIGS]
    assert len(names) == len(set(names)), "a name finds one config, whichever the verb"


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_model_loads_strictly_and_opens_with_its_source_its_parameters_and_its_use(path: Path):
    build(Towers, read_yaml(path), str(path))
    header = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert f"towers: {path.stem} " in header
    assert re.search(r"arXiv|minGPT", header)
    assert " M " in header or "one row" in header


@pytest.mark.parametrize("path", COMPRESSIONS, ids=lambda path: path.stem)
def test_every_compression_loads_strictly_and_opens_with_its_command_and_hardware(path: Path):
    read_compress(path.stem, [])
    header = "".join(line for line in path.read_text().splitlines() if line.startswith("#"))
    assert f"mmpretrain compress runs/quickstart {path.stem} " in header
    assert re.search(r"20\d\d-\d\d-\d\d", header), "the date of its figures"
    assert "cores" in header, "the hardware of its figures"


def test_a_config_names_a_model(tmp_path: Path):
    tree = yaml.safe_load((ROOT / "configs" / "pretrain" / "quickstart.yaml").read_text())
    (tmp_path / "named.yaml").write_text(yaml.safe_dump({**tree, "towers": "vit_b32_clip"}))
    config = load_pretrain(tmp_path / "named.yaml", ["towers.text.layers=2"])
    assert config.towers.image.name == "vit_base_patch32_clip_224"
    assert config.towers.text.layers == 2
    with pytest.raises(ConfigError, match="did you mean 'vit_b32_clip'"):
        load_pretrain(tmp_path / "named.yaml", ["towers=vit_b32_clop"])


def test_the_readmes_table_of_trials_is_that_of_a_full_run_in_which_all_passed():
    rows = json.loads(RESULTS.read_text())
    assert PLACE.search(README)[0] == table(rows)
    assert all(row["tier"] == "full" and row["passed"] == row["trials"] > 0 for row in rows)


def test_the_readmes_table_of_tasks_is_that_of_the_figures_beside_it_and_has_every_row():
    name = "benchmarks/tasks.json"
    rows = json.loads((ROOT / name).read_text())
    found = place_of(name).search(README)
    assert found is not None
    assert found[0] == bench_tasks.table(rows)
    asked = bench_tasks.every_row(load(bench_tasks.Tasks, ROOT / "benchmarks" / "tasks.yaml"))
    assert [(row["task"], row["start"], row["adaptation"]) for row in rows] == [each.identity for each in asked]


def test_the_readmes_table_of_compression_is_that_of_the_figures_beside_it():
    name = "benchmarks/smaller.json"
    found = place_of(name).search(README)
    assert found is not None
    assert found[0] == markdown(json.loads((ROOT / name).read_text())["rows"])


def test_the_readmes_table_of_speed_is_that_of_the_figures_beside_it_where_there_are_some():
    name = "benchmarks/results.json"
    found, figures = place_of(name).search(README), ROOT / name
    assert found is not None, "make bench could not write its table"
    assert found[0] == (bench_speed.markdown(json.loads(figures.read_text())) if figures.is_file() else "")


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_every_card_loads_strictly_and_names_its_licences(path: Path):
    card = load_card(find_dataset(str(path.parent)))
    assert all(source.licence and source.attribution for source in card.sources)
    for source in card.sources:
        assert source.licence in README, f"the README states {source.licence}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line.partition("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("mmpretrain ")]


def test_the_readme_shows_commands():
    assert len(commands()) >= 6


@pytest.mark.parametrize("arguments", commands(), ids=" ".join)
def test_every_command_of_the_readme_exists_with_its_options(arguments: list[str]):
    """Its words are parsed by the command's own parser; what it does is tested with the recipes."""
    words, command = list(arguments), cli
    while hasattr(command, "commands") and words:
        if words[0] not in command.commands and hasattr(command, "default"):
            words.insert(0, command.default)
        assert words[0] in command.commands, f"no command {words[0]}"
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words, resilient_parsing=False)


def test_the_two_commands_of_the_readme_are_targets_of_the_makefile():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert {"quickstart", "test"} <= set(targets)
    assert {"make quickstart", "make test"} <= {
        line.partition("#")[0].strip() for b in blocks("bash") for line in b.splitlines()
    }


def test_the_file_map_of_the_readme_is_the_tree():
    (tree,) = blocks("text")
    named = {line.split()[0].rstrip("/") for line in tree.splitlines() if line.strip()}
    packages = {path.parent.name for path in (ROOT / "mmpretrain").glob("*/__init__.py")}
    top = {"configs", "data_shards", "launch", "tests", "mmpretrain", "pyproject.toml", "Makefile"}
    missing = (packages | top) - named
    assert not missing, f"not in the README's map: {missing}"
    assert not {name for name in named if not any(ROOT.glob(f"**/{name}")) and name not in top}


def test_the_emoji_names_its_attributions_in_the_readme():
    for source in load_card(find_dataset("emoji")).sources:
        assert source.url in README


def test_help_names_every_command():
    answer = CliRunner().invoke(cli, ["--help"])
    assert all(
        verb in answer.output for verb in ("quickstart", "pretrain", "evaluate", "report", "doctor", "config", "data")
    )


def test_show_names_the_origin_of_each_value():
    lines = show(ROOT / "configs/pretrain/quickstart.yaml", ["train.steps=700", "data.tokenizer.context_length=16"])
    origins = {line.split()[0]: line.split()[-1] for line in lines.splitlines()}
    assert origins["train.steps"] == origins["data.tokenizer.context_length"] == "override"
    assert origins["data.name"] == "file"
    assert origins["optim.eps"] == "default"


def test_the_schema_explains_every_field():
    tree = yaml.safe_load(schema())
    unexplained = [
        f"{name}.{field}"
        for name, definition in {**tree["$defs"], "Pretrain": tree}.items()
        for field, facts in definition["properties"].items()
        if field != "kind"
        and "description" not in facts
        and "$ref" not in facts
        and "allOf" not in facts
        and "oneOf" not in facts
    ]
    assert not unexplained


def test_configs_are_compared_once_resolved(tmp_path: Path):
    path = ROOT / "configs/pretrain/quickstart.yaml"
    other = tmp_path / "other.yaml"
    other.write_text(path.read_text().replace("batch: 256", "batch: 128\n  workers: 1"))
    assert diff(path, other) == "data.batch: 256 -> 128\n"
