"""Every mistake is one line that names the thing and the remedy, with the designed exit code, and leaves nothing."""

import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmpretrain.core.files import read_json_lines
from tests.commands import command, refused
from tests.conftest import ConfigWriter, toy_samples, write_card, write_tar


def command_on_a_full_disk(*arguments: str, limit: int) -> subprocess.CompletedProcess:
    """In a process whose files cannot grow beyond `limit` bytes."""
    return subprocess.run(
        [sys.executable, "-m", "mmpretrain", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )


def test_every_value_that_is_wrong_is_told_at_once(toy_config: ConfigWriter, tmp_path: Path):
    answer = command("pretrain", str(toy_config()), "train.steps=0", "data.bathc=3", "towers.image.name=resnet10tt")
    assert answer.returncode == 2
    assert [line.split(":")[1].strip() for line in answer.stderr.splitlines()] == ["data.bathc", "train.steps"]
    assert "did you mean 'batch'" in answer.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("override", "code", "words"),
    [
        ("towers.image.name=resnet10tt", 2, "did you mean 'resnet10t'"),
        ("towers.image.name=vit_tiny_patch16_224 towers.image.size=30", 2, "do not divide into"),
        ("data.batch=64", 2, "data.batch: 64 is more than the 48 samples"),
        ("data.batch=10 train.micro_batches=3", 2, "does not divide by 1 ranks x 3 micro-batches; use 9"),
        ("data.name=nowhere", 2, "data.name: no dataset.yaml in nowhere"),
        ("data.split=trian", 2, "did you mean 'train'"),
        ("evaluation.0.split=vall", 2, "did you mean 'val'"),
        ("engine.kind=dpp", 2, "unknown kind 'dpp'; did you mean 'ddp'"),
        ("optim.schedule.warmup=6", 2, "leave none of the 6 steps"),
    ],
)
def test_an_impossible_value_is_refused_by_name(
    toy_config: ConfigWriter, tmp_path: Path, override: str, code: int, words: str
):
    line = refused(command("pretrain", str(toy_config()), *override.split()), code)
    assert words in line
    assert not (tmp_path / "runs").exists()


def test_a_missing_config_names_the_one_that_was_meant():
    assert "did you mean 'quickstart'" in refused(command("pretrain", "quickstrt"), 2)


def test_a_damaged_shard_ends_with_its_name_before_the_first_step(toy_config: ConfigWriter, tmp_path: Path):
    write_tar(tmp_path / "a.tar", toy_samples(20))
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[5000:6500] = b"x" * 1500
    (tmp_path / "a.tar").write_bytes(content)
    write_card(tmp_path, {"train": (["a.tar"], 20)})
    line = refused(command("pretrain", str(toy_config(evaluation=[])), f"data.name={tmp_path}"), 3)
    assert "a.tar" in line
    assert not (tmp_path / "runs").exists()


def faulty(folder: Path, good: int, bad: int) -> str:
    broken = [{"__key__": f"broken-{n}", "png": b"?", "txt": b"x", "json": b"{}"} for n in range(bad)]
    write_tar(folder / "a.tar", [*toy_samples(good), *broken])
    write_card(folder, {"train": (["a.tar"], good + bad)})
    return f"data.name={folder}"


def test_a_sample_that_cannot_be_decoded_is_replaced_and_stands_in_the_ledger(toy_config: ConfigWriter, tmp_path: Path):
    answer = command("pretrain", str(toy_config(evaluation=[])), faulty(tmp_path, 22, 2), "train.save_every=1")
    assert answer.returncode == 0, answer.stderr
    folder = tmp_path / "runs" / "toy"
    ledger = read_json_lines(folder / "ledger.jsonl")
    assert sum(record["attempt"] == 0 for record in ledger) == 2 * 6 * 12 / 24
    assert {(record["shard"], record["reason"]) for record in ledger} == {("a.tar", "missing_fact")}

    (folder / "complete").unlink()
    for step in (5, 6):
        shutil.rmtree(folder / "checkpoints" / f"step_{step:08d}")
    assert (
        command("pretrain", str(toy_config(evaluation=[])), faulty(tmp_path, 22, 2), "train.save_every=1").returncode
        == 0
    )
    assert [record["step"] for record in read_json_lines(folder / "ledger.jsonl")] == [r["step"] for r in ledger]


def test_too_many_bad_samples_end_the_run_with_one_line(toy_config: ConfigWriter, tmp_path: Path):
    breaker = ("data.breaker.window=24", "data.breaker.share=0.1")
    line = refused(command("pretrain", str(toy_config(evaluation=[])), faulty(tmp_path, 18, 6), *breaker), 3)
    assert "of the last 24 samples cannot be used" in line
    assert "a.tar: broken-" in line


def test_samples_that_end_a_run_stand_in_its_ledger(toy_config: ConfigWriter, tmp_path: Path):
    config = str(toy_config(evaluation=[], towers__image__norm="group"))
    line = refused(command("pretrain", config, faulty(tmp_path, 0, 12)), 3)
    assert "100 samples in a row cannot be used" in line
    ledger = read_json_lines(tmp_path / "runs" / "toy" / "ledger.jsonl")
    assert [record["attempt"] for record in ledger] == list(range(100))
    assert {record["reason"] for record in ledger} == {"missing_fact"}


def test_an_evaluation_with_many_bad_samples_ends_with_their_number_and_names(toy_config: ConfigWriter, tmp_path: Path):
    config = str(toy_config(evaluation=[{"kind": "retrieval", "split": "train"}]))
    line = refused(command("pretrain", config, faulty(tmp_path, 18, 2), "data.breaker.share=0.09"), 3)
    assert "2 (missing_fact 2; a.tar: broken-0: missing_fact" in line
    assert "of 20 samples cannot be used, more than data.breaker.share = 0.09 allows" in line


def test_a_disk_that_is_full_leaves_no_half_written_checkpoint(toy_config: ConfigWriter, tmp_path: Path):
    line = refused(command_on_a_full_disk("pretrain", str(toy_config(evaluation=[])), limit=400_000), 1)
    assert "the checkpoint of step 6 was not written" in line
    assert "free some space" in line
    assert not list((tmp_path / "runs" / "toy" / "checkpoints").glob("*"))


def test_an_existing_run_is_left_as_it_is(toy_config: ConfigWriter, tmp_path: Path):
    config = str(toy_config(evaluation=[]))
    assert command("pretrain", config).returncode == 0
    before = sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*"))
    assert "this run is complete" in refused(command("pretrain", config), 2)
    assert sorted((path, path.stat().st_mtime_ns) for path in tmp_path.rglob("*")) == before


def test_a_mistyped_command_names_the_one_that_was_meant():
    answer = command("pretrian")
    assert answer.returncode == 2
    assert "Did you mean 'pretrain'?" in answer.stderr


def test_what_is_no_run_is_named(tmp_path: Path):
    assert "not a run folder" in refused(command("evaluate", str(tmp_path), "--data", ":val"), 2)
    assert "not a run folder" in refused(command("report", str(tmp_path)), 2)
