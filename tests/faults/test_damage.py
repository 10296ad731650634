"""Damaged checkpoints: every one is found and named, and all ranks go on from the one before."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import sha256
from mmpretrain.core.weights import load_tensors, save_tensors
from mmpretrain.train import checkpoint
from tests.faults.conftest import FULL, SEED, engine
from tests.faults.harness import Account, Trial, same, sample

FLIPS, CUTS, FILES, MIXES = 300, 300, 30, 20


def flip(folder: Path, draw: random.Random) -> str:
    """One bit of one file."""
    file = draw.choice(sorted(folder.iterdir()))
    content = bytearray(file.read_bytes())
    place = draw.randrange(8 * len(content))
    content[place // 8] ^= 1 << place % 8
    file.write_bytes(content)
    return file.name


def cut(folder: Path, draw: random.Random) -> str:
    file = draw.choice(sorted(folder.iterdir()))
    content = file.read_bytes()
    file.write_bytes(content[: draw.randrange(len(content))])
    return file.name


def lose(folder: Path, draw: random.Random) -> str:
    """A file is deleted, exchanged with another, or has another name."""
    first, second = draw.sample(sorted(folder.iterdir()), 2)
    match draw.randrange(3):
        case 0:
            first.unlink()
            second = first
        case 1:
            held = first.read_bytes()
            first.write_bytes(second.read_bytes())
            second.write_bytes(held)
        case _:
            first.rename(first.with_suffix(".old"))
            second = first
    return f"{first.name} {second.name}"


def mix(folder: Path, draw: random.Random) -> str:
    """A file of another step in the place of this one's."""
    file = draw.choice(sorted(folder.glob("*.safetensors")))
    shutil.copy(folder.with_name("step_00000004") / file.name, file)
    return file.name


@pytest.fixture
def saved(trial: Callable[..., Trial]) -> Trial:
    """A run of eight steps, not complete, with the checkpoints of steps 4, 6 and 8."""
    made = trial("saved", "train.keep_last=3")
    assert made.go().codes == [0]
    made.run.complete.unlink()
    return made


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_every_damage_is_found_and_named(saved: Trial, account: Callable[[str, str], Account], tmp_path: Path) -> None:
    row = account("damaged checkpoints", "found, the file named, and the one before taken")
    draw = random.Random(SEED)
    kinds = [flip] * FLIPS + [cut] * CUTS + [lose] * FILES + [mix] * MIXES
    for number, damage in enumerate(sample(kinds, None if FULL else 60, SEED)):
        root = tmp_path / "copy"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(saved.run.checkpoints, root)
        name = damage(root / "step_00000008", draw)
        newest, complaints = checkpoint.find_newest(root)
        files = set(name.split())  # of a damaged manifest it is the file that it is wrong about
        named = len(complaints) == 1 and bool(files & {*complaints[0].split(), "manifest.json"})
        row.note(newest == root / "step_00000006" and named, f"{number}: {damage.__name__} {name}: {complaints}")


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_all_ranks_fall_back_together(trial: Callable[..., Trial], account: Callable[[str, str], Account]) -> None:
    row = account("damaged checkpoint, two ranks", "all ranks resume from the one before, and end as if nothing was")
    whole = trial("whole")
    assert whole.go(2, more=engine(2)).codes == [0, 0]
    draw = random.Random(SEED)
    for number in range(4 if FULL else 1):
        damaged = trial(f"damaged{number}")
        damaged.go(2, "step=kill@7#1", engine(2))
        newest, _ = checkpoint.find_newest(damaged.run.checkpoints)
        assert newest is not None
        name = flip(newest, draw)
        again = damaged.go(2, more=engine(2))
        said = "passed over" in again.output and newest.name in again.output
        fine = again.codes == [0, 0] and said and same(damaged.final(), whole.final())
        row.note(fine, f"{name}: {again.codes} {again.output[-1500:]}")


def rewrite(folder: Path, name: str, key: str) -> None:
    """Leave one entry out of a file of a checkpoint, under a manifest that agrees."""
    file = folder / name
    if file.suffix == ".safetensors":
        tensors = load_tensors(file)
        del tensors[key]
        save_tensors(file, tensors)
    else:
        tree = json.loads(file.read_text())
        node = tree["guards"] if key.startswith("guards.") else tree
        del node[key.removeprefix("guards.")]
        file.write_text(json.dumps(tree))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_no_entry_of_a_checkpoint_can_be_left_out(saved: Trial, account: Callable[[str, str], Account]) -> None:
    """A save that forgets a thing is refused, whatever it forgets."""
    row = account("entries left out of a checkpoint", "refused by name")
    folder = saved.run.checkpoints / "step_00000008"
    shutil.rmtree(saved.run.checkpoints / "step_00000006")
    shutil.rmtree(saved.run.checkpoints / "step_00000004")
    state = json.loads((folder / "state.json").read_text())
    entries = [("state.json", key) for key in state if key != "date"]
    entries += [("state.json", f"guards.{key}") for key in state["guards"]]
    for file in sorted(folder.glob("*.safetensors")):
        entries += [(file.name, key) for key in load_tensors(file)]
    files = [file.name for file in folder.iterdir() if file.name != "manifest.json"]
    kept = {file.name: file.read_bytes() for file in folder.iterdir()}
    for name, key in [*sample(entries, None if FULL else 12, SEED), *((name, None) for name in files)]:
        if key is None:
            manifest = json.loads((folder / "manifest.json").read_text())
            del manifest["files"][name]
            (folder / "manifest.json").write_text(json.dumps(manifest))
            (folder / name).unlink()
        else:
            rewrite(folder, name, key)
        try:
            resumed = saved.go()
            named = "error:" in resumed.output and (key or name).removeprefix("guards.") in resumed.output
            row.note(resumed.codes != [0] and named, f"{name} without {key}: {resumed.codes} {resumed.output[-500:]}")
        finally:
            for each, content in kept.items():
                (folder / each).write_bytes(content)


def test_a_checkpoint_that_is_damaged_is_refused_when_it_is_asked_for(saved: Trial) -> None:
    flip(saved.run.checkpoints / "step_00000006", random.Random(SEED))
    with pytest.raises(MmpretrainError, match=r"step_00000006.*use another checkpoint"):
        checkpoint.load(saved.run.checkpoints / "step_00000006")
