"""`mmpretrain caption`: COCO results for pictures and folders, whatever lies among them."""

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from mmpretrain.__main__ import cli
from mmpretrain.core.errors import ConfigError, DataError, MmpretrainError
from mmpretrain.data.convert.picture import FilePicture
from mmpretrain.data.given import Given, given_pictures, image_ids
from mmpretrain.heads.generation.greedy import Greedy
from mmpretrain.recipes.alone import load_alone
from mmpretrain.recipes.caption import caption, caption_given
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.recipes.settings import read_run
from tests.conftest import ConfigWriter, toy_picture

TOWERS = {
    "image": {"kind": "timm", "name": "test_vit", "size": 32},
    "text": {"kind": "causal", "width": 16, "layers": 1, "heads": 2},
    "embedding": 16,
}


@pytest.fixture
def run(toy_config: ConfigWriter) -> Path:
    """A run of six steps that has learned to write, a little."""
    return trained(toy_config, "writer")


def trained(toy_config: ConfigWriter, name: str, beside: Sequence[str] = (), **captioning: object) -> Path:
    towers = {**TOWERS, "decoder": {"layers": 1, "start": "embedding" if "prefix" in captioning else "text"}}
    objectives = [{"kind": "captioning", **captioning}, *({"kind": kind} for kind in beside)]
    config = toy_config(name, towers=towers, objectives=objectives, evaluation=[])
    return pretrain(config, [], "never", Console(quiet=True)).folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six pictures in two folders, and around them all that cannot be looked at."""
    folder = tmp_path / "pictures"
    for name, colour in zip("abcdef", ("red", "green", "blue", "grey", "red", "blue"), strict=True):
        file = folder / ("sub" if name in "ef" else "") / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(toy_picture(colour, "square" if name < "e" else "dot", ord(name)))
    return folder


def spoil(folder: Path) -> dict[str, int]:
    """Add what cannot be captioned; returns how often each reason should be found."""
    whole = toy_picture("red", "frame", 0, 64)
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "huge.png").write_bytes(picture((10_000, 10_000), "1", "PNG"))
    (folder / "dot.png").write_bytes(picture((1, 1), "RGB", "PNG"))
    (folder / "old.gif").write_bytes(picture((16, 16), "P", "GIF"))
    (folder / "notes.txt").write_text("no picture, and not named as one")
    return {"damaged_image": 1, "empty_image": 1, "large_image": 1, "small_image": 1, "unknown_image": 1}


def picture(size: tuple[int, int], mode: str, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def invoke(*arguments: object, fails: type[MmpretrainError] | None = None) -> str:
    answer = CliRunner().invoke(cli, ["caption", *map(str, arguments)])
    if fails:
        assert isinstance(answer.exception, fails), answer.output
        return str(answer.exception)
    assert answer.exception is None, answer.output
    return answer.output


def test_folders_are_walked_and_what_cannot_be_captioned_is_named_and_counted(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    out, reasons = tmp_path / "results" / "captions.json", spoil(pictures)
    (tmp_path / "nothing").mkdir()
    arguments = (run, pictures, pictures / "a.png", tmp_path / "nothing", tmp_path / "gone.jpg", "--out", out)
    facts = json.loads(invoke(*arguments, "--json"))
    expected = {**reasons, "empty_folder": 1, "missing_image": 1}
    assert (facts["captioned"], facts["left_out"]) == (6, expected)
    found = json.loads(out.read_text())
    names = ["a.png", "b.png", "c.png", "d.png", "sub/e.png", "sub/f.png"]
    assert [each["image_id"] for each in found] == [str(pictures / name) for name in names]
    assert all(set(each) == {"image_id", "caption"} and isinstance(each["caption"], str) for each in found)
    named = {
        Path(each["file"]).name: each["reason"]
        for each in json.loads((out.parent / "captions.left_out.json").read_text())
    }
    assert named["huge.png"] == "large_image"
    assert named["nothing"] == "empty_folder"
    said = " ".join(invoke(*arguments).split())
    assert "captions of 6 pictures; 7 others left out" in said
    assert "cut.png: damaged_image" in said


@pytest.mark.parametrize("way", [["greedy"], ["beam", "--width", 3], ["sample", "--top-k", 20, "--seed", 3]])
def test_captions_do_not_depend_on_how_many_are_written_at_a_time(
    run: Path, pictures: Path, tmp_path: Path, way: list
) -> None:
    found = []
    for rows in (1, 2, 64):
        invoke(run, pictures, "--out", tmp_path / f"{rows}.json", "--rows", rows, "--how", *way)
        found.append((tmp_path / f"{rows}.json").read_text())
    assert found[0] == found[1] == found[2]
    invoke(run, pictures / "sub", "--out", tmp_path / "part.json", "--how", *way)
    assert json.loads((tmp_path / "part.json").read_text()) == json.loads(found[0])[-2:]


def test_weights_in_bf16_write_for_the_same_pictures(run: Path, pictures: Path, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        facts = caption(
            run, [pictures], tmp_path / f"{precision}.json", "greedy", {}, 64, Console(quiet=True), precision
        )
        assert facts["captioned"] == 6
    exact, rounded = (json.loads((tmp_path / f"{each}.json").read_text()) for each in ("fp32", "bf16"))
    assert [each["image_id"] for each in exact] == [each["image_id"] for each in rounded]
    assert all(each["caption"] for each in rounded)
    alone = load_alone(run, read_run(run), "bf16")
    kinds = {parameter.dtype for parameter in alone.engine.module.parameters()}
    assert kinds == {torch.bfloat16}


def test_a_run_takes_its_words_from_its_checkpoint_and_needs_no_data(
    run: Path, pictures: Path, shapes: Path, tmp_path: Path
) -> None:
    invoke(run, pictures, "--out", tmp_path / "before.json")
    config = (run / "config.yaml").read_text()
    assert str(shapes) in config
    (run / "config.yaml").write_text(config.replace(str(shapes), str(tmp_path / "gone")))
    invoke(run, pictures, "--out", tmp_path / "after.json")
    assert (tmp_path / "before.json").read_text() == (tmp_path / "after.json").read_text()


def test_a_run_that_writes_only_words_of_its_data_reads_them_there(
    toy_config: ConfigWriter, pictures: Path, tmp_path: Path
) -> None:
    run = trained(toy_config, "seen", words="seen")
    invoke(run, pictures, "--out", tmp_path / "seen.json", "--how", "sample", "--temperature", 100)
    words = {word for each in json.loads((tmp_path / "seen.json").read_text()) for word in each["caption"].split()}
    assert words - {"[UNK]", "[PAD]"} <= {"a", "red", "green", "blue", "grey", "square", "stripe", "frame", "dot"}


def test_a_run_without_decoder_is_refused_by_name(toy_config: ConfigWriter, pictures: Path, tmp_path: Path) -> None:
    mute = pretrain(toy_config("mute", evaluation=[]), [], "never", Console(quiet=True)).folder
    said = invoke(mute, pictures, fails=ConfigError)
    assert f"{mute}: learned contrastive and has no decoder" in said
    assert "not a run folder" in invoke(tmp_path, pictures, fails=ConfigError)
    prefixed = trained(toy_config, "prefix", prefix=2)
    assert "behind 2 given words" in invoke(prefixed, pictures, fails=ConfigError)


def test_only_a_run_that_learned_what_is_alike_can_rank_its_captions_by_it(
    run: Path, toy_config: ConfigWriter, pictures: Path, tmp_path: Path
) -> None:
    asked = ("--how", "beam", "--likeness", 1)
    said = invoke(run, pictures, *asked, fails=ConfigError)
    assert "likeness asks what a contrastive objective says of picture and text, and none was learned" in said
    both = trained(toy_config, "both", beside=["contrastive"])
    invoke(both, pictures, "--out", tmp_path / "ranked.json", *asked)
    assert len(json.loads((tmp_path / "ranked.json").read_text())) == 6


def test_where_nothing_can_be_captioned_there_is_no_file_of_captions(run: Path, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    out = tmp_path / "captions.json"
    said = invoke(run, tmp_path / "nothing", "--out", out, fails=DataError)
    assert "empty_folder 1" in said
    assert not out.exists()


class Stopper(FilePicture):
    """Ctrl-C, while this picture is read."""

    def read(self, max_bytes: int) -> bytes:
        raise KeyboardInterrupt


def test_an_interrupted_walk_keeps_what_it_has_written(run: Path, pictures: Path, tmp_path: Path) -> None:
    given = given_pictures([tmp_path / "gone.jpg", pictures])
    given.insert(5, Given("stop", Stopper(str(pictures), "a.png")))
    alone, out = load_alone(run, read_run(run)), tmp_path / "captions.json"
    with pytest.raises(KeyboardInterrupt):
        caption_given(alone, given, Greedy(most_tokens=5), 2, out, Console(quiet=True))
    assert [Path(each["image_id"]).name for each in json.loads(out.read_text())] == ["a.png", "b.png", "c.png", "d.png"]
    assert len(json.loads((tmp_path / "captions.left_out.json").read_text())) == 1


def test_settings_that_do_not_go_together_are_refused(run: Path, pictures: Path) -> None:
    assert "--top-k: goes with --how sample" in invoke(run, pictures, "--top-k", 5, fails=ConfigError)
    assert "width" in invoke(run, pictures, "--how", "beam", "--width", 0, fails=ConfigError)
    assert "context is 12" in invoke(run, pictures, "--least-tokens", 15, fails=ConfigError)


def test_captions_go_on_from_a_prompt(run: Path, pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "captions.json"
    for way in (["greedy"], ["beam"], ["sample", "--top-k", 5]):
        said = invoke(run, pictures, "--out", out, "--prompt", "A blue", "--how", *way)
        assert "note:" not in said
        found = [each["caption"] for each in json.loads(out.read_text())]
        assert len(found) == 6
        assert all(caption.startswith("a blue") for caption in found), found
    before = out.read_text()
    said = invoke(run, pictures, "--out", out, "--prompt", "a " * 11, fails=ConfigError)
    assert "is longer than 10 tokens, which leaves none to write (most_tokens is 11, the run's context 12)" in said
    assert out.read_text() == before
    said = invoke(run, pictures, "--out", out, "--prompt", "a red", "--most-tokens", 2, fails=ConfigError)
    assert "longer than 1 tokens" in said
    told = " ".join(invoke(run, pictures, "--out", out, "--prompt", "a blue 漢").split())
    assert "note: the prompt has words that the run never learned: '漢'" in told


def test_a_prompt_of_words_that_no_training_text_held_is_said(
    toy_config: ConfigWriter, pictures: Path, tmp_path: Path
) -> None:
    run = trained(toy_config, "seen", words="seen")
    told = " ".join(invoke(run, pictures, "--out", tmp_path / "c.json", "--prompt", "bread of red").split())
    assert "never learned: 'bread', 'of'" in told
    assert "never learned" not in invoke(run, pictures, "--out", tmp_path / "c.json", "--prompt", "a red")


def test_a_link_to_a_picture_is_followed_and_a_folder_that_links_to_itself_ends(
    run: Path, pictures: Path, tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "a.png").symlink_to(pictures / "a.png")
    (tmp_path / "links" / "again").symlink_to(tmp_path / "links")
    shutil.copy(pictures / "b.png", tmp_path / "links" / "b.png")
    facts = json.loads(invoke(run, tmp_path / "links", "--out", tmp_path / "links.json", "--json"))
    assert (facts["captioned"], facts["left_out"]) == (2, {})


def test_pictures_that_coco_named_go_by_their_numbers() -> None:
    assert image_ids(["x/COCO_val2014_000000391895.jpg", "y/000000000042.png"]) == [391895, 42]
    assert image_ids(["x/000000000042.jpg", "x/cat.jpg"]) == ["x/000000000042.jpg", "x/cat.jpg"]
    assert image_ids(["x/42.jpg", "y/42.jpg"]) == ["x/42.jpg", "y/42.jpg"]
