"""`search`, `embed` and `serve` as a person types them."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mmpretrain.core import installed
from mmpretrain.export.onnx_files import PREPROCESS
from mmpretrain.recipes.serve import names_of
from mmpretrain.recipes.served.folder import open_folder
from tests.commands import command, refused
from tests.conftest import COLOURS, toy_picture


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures, one without caption, one damaged, one no picture."""
    folder = tmp_path / "my pictures"
    (folder / "sub").mkdir(parents=True)
    for place, colour in enumerate(COLOURS):
        file = folder / ("sub" if place % 2 else "") / f"{colour}.png"
        file.write_bytes(toy_picture(colour, "square", place))
        if colour != "grey":
            file.with_suffix(".txt").write_text(f"a {colour} <b>square</b>\n")
    (folder / "cut.png").write_bytes(toy_picture("red", "dot", 0)[:50])
    (folder / "notes.md").write_text("none")
    return folder


def told(*words: object) -> dict:
    answer = command(*words, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def test_a_folder_is_indexed_searched_and_shown_on_a_page(plain: Path, pictures: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(plain, tmp_path / "run"))
    facts = told("search", "index", run, "mine", "--data", pictures)
    assert (facts["count"], facts["left_out"], facts["name"]) == (4, 1, "mine")
    red = pictures / "red.png"
    found = told("search", run, "--picture", red, "--top", 2)["found"]
    assert (found[0]["key"], found[0]["caption"]) == ("red.png", "a red <b>square</b>")
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)
    page = tmp_path / "out" / "found.html"
    answer = command("search", run, "a blue square", "--page", page)
    assert answer.returncode == 0, answer.stderr
    assert "sub/green.png" in answer.stdout
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 4
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "http" not in html.replace("http-equiv", "")
    red.unlink()
    command("search", run, "a blue square", "--page", page)
    assert "no longer there" in page.read_text()


def test_what_cannot_be_searched_is_one_line(plain: Path, able: Path, quiz_data: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(plain, tmp_path / "run"))
    assert f"make one: mmpretrain search index {run} NAME" in refused(command("search", run, "red"), 2)
    assert "give a text or --picture" in refused(command("search", run), 2)
    assert "neither a run folder" in refused(command("search", tmp_path, "red"), 2)
    assert "cannot name an index" in refused(command("search", "index", run, "a/..", "--data", quiz_data), 2)
    assert "no dataset.yaml" in refused(command("search", "index", run, "nothing_of_that_name"), 2)
    told("search", "index", run, "a", "--data", f"{quiz_data}:val")
    told("search", "index", run, "b", "--data", quiz_data)
    assert "has several; name one of a, b" in refused(command("search", run, "red"), 2)
    assert "did you mean" not in refused(command("search", run, "red", "--index", "c"), 2)
    assert told("search", run, "red", "--index", "b")["count"] == 77, "all splits"
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(able / "checkpoints", run / "checkpoints")
    said = refused(command("search", run, "red", "--index", "a"), 2)
    assert f"was made with other weights (step 12); make it again: mmpretrain search index {run} a --data" in said
    (run / "search" / "b" / "vectors.npy").write_bytes(b"\x80\x04")
    assert "no index of this version" in refused(command("search", run, "red", "--index", "b"), 2)


def test_vectors_are_written_as_clip_retrieval_writes_them(plain: Path, quiz_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    facts = told("embed", plain, "--data", f"{quiz_data}:val", "--out", out, "--numbers", "float32")
    files = sorted(str(file.relative_to(out)) for file in out.rglob("*") if file.is_file())
    assert files == ["img_emb/img_emb_0.npy", "metadata/metadata_0.parquet", "text_emb/text_emb_0.npy"]
    images, texts = np.load(out / files[0]), np.load(out / files[2])
    table = pq.read_table(out / files[1]).to_pydict()
    assert images.shape == texts.shape == (29, 16) == (facts["pictures"], facts["width"])
    assert table["image_path"] == table["key"] == [f"q{number:04d}" for number in range(100, 129)]
    assert set(table["caption"]) == {"is it red?", "what colour is it?"}
    served = open_folder(plain)
    assert np.abs(served.embed_texts(table["caption"]) - texts).max() < 1e-6
    assert np.allclose(np.linalg.norm(images, axis=1), 1, atol=1e-6)
    assert "exists; name another" in refused(command("embed", plain, "--data", quiz_data, "--out", out), 2)


def test_in_bf16_vectors_point_where_they_did_and_an_export_keeps_its_numbers(
    plain: Path, quiz_data: Path, tmp_path: Path
) -> None:
    given = ("--data", f"{quiz_data}:val", "--numbers", "float32")
    told("embed", plain, *given, "--out", tmp_path / "exact")
    told("embed", plain, *given, "--out", tmp_path / "rounded", "--precision", "bf16")
    for name in ("img_emb/img_emb_0.npy", "text_emb/text_emb_0.npy"):
        exact_BE, rounded_BE = (np.load(tmp_path / folder / name) for folder in ("exact", "rounded"))
        cosines_B = (exact_BE * rounded_BE).sum(axis=1)
        assert cosines_B.min() > 0.999
        assert np.abs(exact_BE - rounded_BE).max() > 1e-4, "computed in fewer bits"
        assert np.allclose(np.linalg.norm(rounded_BE, axis=1), 1, atol=1e-5)
    shutil.copytree(plain, tmp_path / "export")
    (tmp_path / "export" / PREPROCESS).write_text("{}")
    refusal = command("embed", tmp_path / "export", *given, "--out", tmp_path / "none", "--precision", "bf16")
    assert "--precision: " in refused(refusal, 2)


def test_a_folder_of_pictures_is_embedded_with_texts_only_where_all_have_one(
    plain: Path, pictures: Path, tmp_path: Path
) -> None:
    facts = told("embed", plain, "--data", pictures, "--out", tmp_path / "some")
    assert (facts["pictures"], facts["texts"], facts["left_out"]) == (4, 0, 1)
    assert not (tmp_path / "some" / "text_emb").exists()
    assert np.load(tmp_path / "some" / "img_emb" / "img_emb_0.npy").dtype == np.float16
    (pictures / "sub" / "grey.txt").write_text("a grey square")
    assert told("embed", plain, "--data", pictures, "--out", tmp_path / "all")["texts"] == 4
    paths = pq.read_table(tmp_path / "all" / "metadata" / "metadata_0.parquet").to_pydict()["image_path"]
    assert paths == sorted(str(file) for file in pictures.rglob("*.png") if file.stem != "cut")
    for file in pictures.rglob("*.png"):
        file.write_bytes(b"none")
    said = refused(command("embed", plain, "--data", pictures, "--out", tmp_path / "none"), 3)
    assert "holds no picture that can be read" in said
    assert not (tmp_path / "none").exists()


def test_a_server_that_cannot_start_says_why_before_it_loads_anything(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(command("serve", plain, "--port", taken.getsockname()[1]), 2)
    assert "Address already in use; choose others with --host and --port" in said
    assert "neither a run folder" in refused(command("serve", tmp_path), 2)
    assert "stands twice" in refused(command("serve", plain, plain), 2)
    assert "queue: " in refused(command("serve", plain, "--queue", 0), 2)
    there = installed.is_there
    monkeypatch.setattr(installed, "is_there", lambda name: name != "uvicorn" and there(name))
    assert refused(command("serve", plain), 2) == 'error: serve: needs uvicorn; pip install -e ".[serve]"'


def test_models_of_one_name_are_told_apart_by_what_stands_above_them() -> None:
    paths = [Path("/a/x/run"), Path("/a/y/run")]
    assert names_of(paths) == ["x-run", "y-run"]
    assert names_of([Path("/a/one"), Path("/b/two")]) == ["one", "two"]
