"""What is served is what the commands say."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mmpretrain.data.images import decode_image
from mmpretrain.recipes.answer import answer
from mmpretrain.recipes.caption import caption
from mmpretrain.recipes.evaluate import evaluate
from mmpretrain.recipes.search import search
from mmpretrain.serving.served import Served
from tests.conftest import COLOURS, toy_picture
from tests.serving.site import Asked, data_url
from tests.tasks import ANSWERS

QUIET = Console(quiet=True)


def ok(response: object) -> dict:
    assert response.status_code == 200, response.text
    return response.json()


def vectors(found: dict) -> np.ndarray:
    return np.array([each["embedding"] for each in found["data"]])


def test_models_say_what_they_can_and_the_page_is_there(asked: Asked) -> None:
    plain, able = ok(asked.get("/v1/models"))["data"]
    assert plain["can"] == ["embeddings", "explain", "labels"]
    assert able["can"] == ["answer", "caption", "classes", "embeddings", "explain", "labels", "search"]
    assert [head["name"] for head in able["heads"]] == ["classification", "question_answering", "answer_writing"]
    assert able["heads"][0]["classes"] == ANSWERS
    assert able["indexes"] == [{"name": "held", "count": 29, "source": able["indexes"][0]["source"], "problem": ""}]
    assert ok(asked.get("/health"))["status"] == "ok"
    page = asked.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]


def test_texts_and_pictures_are_embedded_as_json_as_a_form_and_as_bytes(asked: Asked, red: bytes) -> None:
    inputs = ["a red square", data_url(red), {"image": data_url(red)}, {"text": "a red square"}]
    found = ok(asked.post("/v1/embeddings", {"input": inputs}))
    assert [each["kind"] for each in found["data"]] == ["text", "image", "image", "text"]
    numbers = vectors(found)
    assert np.allclose(np.linalg.norm(numbers, axis=1), 1, atol=1e-6)
    assert (numbers[0] == numbers[3]).all()
    assert (numbers[1] == numbers[2]).all()
    assert found["usage"]["prompt_tokens"] > 4
    files = [("input", (None, b"a red square")), ("input", ("x.png", red, "image/png"))]
    assert (vectors(ok(asked.post("/v1/embeddings", files=files))) == numbers[:2]).all()
    packed = ok(asked.post("/v1/embeddings", {"input": "a red square", "encoding_format": "base64"}))["data"][0]
    assert np.allclose(np.frombuffer(base64.b64decode(packed["embedding"]), "<f4"), numbers[0])


def test_a_batch_says_what_each_row_would_say_alone(models: list[Served]) -> None:
    texts = ["a red square", "green", "a blue dot on white is what this is", "grey frame", "x"]
    pictures = [toy_picture(colour, "frame", 1) for colour in COLOURS]
    together, alone = Asked(models, wait_ms=200, cache_megabytes=0), Asked(models, wait_ms=0, cache_megabytes=0)
    inputs = [*texts, *map(data_url, pictures)]
    asked = [("/v1/embeddings", {"input": each, "model": "able"}) for each in inputs]
    many = [vectors(ok(each)) for each in together.together(asked)]
    few = [vectors(ok(alone.post(*each))) for each in asked]
    assert np.abs(np.array(many) - np.array(few)).max() < 1e-6
    rows = [line for line in together.get("/metrics").text.splitlines() if "batch_rows_count" in line]
    assert rows == ["mmpretrain_batch_rows_count 2"]
    together.close()
    alone.close()


def test_what_was_embedded_is_remembered_by_its_bytes_and_its_model(asked: Asked, red: bytes, blue: bytes) -> None:
    def asks(*inputs: str, model: str = "plain") -> tuple[int, int]:
        ok(asked.post("/v1/embeddings", {"input": list(inputs), "model": model}))
        return asked.site.shop.cache.hits, asked.site.shop.cache.misses

    assert asks("red", data_url(red)) == (0, 2)
    assert asks("red", data_url(red), data_url(blue)) == (2, 3)
    assert asks("red", model="able") == (2, 4)


def test_captions_are_those_of_the_command(asked: Asked, able: Path, red: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(red)
    ways = [("greedy", {}), ("beam", {"width": 3}), ("sample", {"top_k": 9, "seed": 4}), ("greedy", {"prompt": "is"})]
    for way, options in ways:
        out = tmp_path / f"{way}{len(options)}.json"
        caption(able, [picture], out, way, options, 8, QUIET)
        found = ok(asked.post("/v1/caption", {"image": data_url(red), "how": way, **options}))
        assert found["caption"] == json.loads(out.read_text())[0]["caption"]
        assert found["model"] == "able", "the first that can"
        assert len(found["captions"]) == (3 if way == "beam" else 1)
        form = {"image": ("red.png", red, "image/png"), "how": (None, way)}
        form |= {name: (None, str(value)) for name, value in options.items()}
        assert ok(asked.post("/v1/caption", files=form)) == found


def test_answers_are_those_of_the_command_of_every_head(asked: Asked, able: Path, red: bytes, tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(red)
    questions = ["what colour is it?", "is it red?"]
    found = ok(asked.post("/v1/answer", {"image": data_url(red), "questions": questions}))["answers"]
    assert [each["head"] for each in found] == ["question_answering"] * 2 + ["answer_writing"] * 2
    for head, own in (("question_answering", found[:2]), ("answer_writing", found[2:])):
        told = answer(able, picture, questions, head, 5, QUIET)["questions"]
        same_answers(own, told)
    asks = {"image": data_url(red), "question": questions[0], "heads": ["answer_writing"], "answers": "listed"}
    told = answer(able, picture, questions[:1], "answer_writing", 5, QUIET, "listed")["questions"]
    same_answers(ok(asked.post("/v1/answer", asks))["answers"], told)


def same_answers(served: list[dict], told: list[dict]) -> None:
    for ours, theirs in zip(served, told, strict=True):
        assert ours["question"] == theirs["question"]
        pairs = zip(ours["answers"], theirs["answers"], strict=True)
        assert all(a["answer"] == b["answer"] and abs(a["probability"] - b["probability"]) < 1e-6 for a, b in pairs)


def test_classes_of_a_head_and_of_labels_are_those_of_evaluation(
    asked: Asked, able: Path, quiz_data: Path, models: list[Served]
) -> None:
    evaluate(able, "classification", f"{quiz_data}:val", [], None)
    evaluate(able, "zero_shot", f"{quiz_data}:val", [], None, ["templates=['it is {}']"])
    rows = {name: read_lines(able, name) for name in ("classification", "zero_shot")}
    pictures = pictures_of(quiz_data)
    for row in rows["classification"][:9]:
        found = ok(asked.post("/v1/classify", {"image": data_url(pictures[row["key"]]), "model": "able"}))
        assert (found["kind"], found["head"]) == ("head", "classification")
        assert found["classes"][0]["label"] == row["predicted"]
        assert sum(each["probability"] for each in found["classes"]) == pytest.approx(1, abs=1e-5)
    for row in rows["zero_shot"][:9]:
        asks = {"image": data_url(pictures[row["key"]]), "labels": ANSWERS, "templates": ["it is {}"], "model": "able"}
        assert ok(asked.post("/v1/classify", asks))["classes"][0]["label"] == row["predicted"]


def read_lines(run: Path, task: str) -> list[dict]:
    (file,) = (run / "predictions").glob(f"{task}_*val*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def pictures_of(data: Path) -> dict[str, bytes]:
    import webdataset

    return {
        each["__key__"]: each["png"] for each in webdataset.WebDataset(str(data / "val-00000.tar"), shardshuffle=False)
    }


def test_searches_are_those_of_the_command_and_show_thumbnails(asked: Asked, able: Path, red: bytes) -> None:
    told = search(able, "a red square", None, "", 7, None, QUIET)
    found = ok(asked.post("/v1/search", {"text": "a red square", "top": 7}))
    assert (found["index"], found["count"]) == ("held", 29)
    assert [each["key"] for each in found["found"]] == [each["key"] for each in told["found"]]
    scores = [each["score"] for each in found["found"]]
    assert scores == sorted(scores, reverse=True)
    thumbnail = asked.get(found["found"][0]["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/png"
    assert decode_image(thumbnail.content).shape == (3, 16, 16)
    like = ok(asked.post("/v1/search", files={"image": ("a.png", red, "image/png")}))
    assert like["found"][0]["score"] == pytest.approx(1, abs=1e-5), "the picture itself is in the index"


def test_the_log_says_what_was_asked_and_nothing_that_was_written(asked: Asked, red: bytes) -> None:
    asked.post("/v1/embeddings", {"input": "my secret"})
    asked.post("/v1/embeddings", {"secret": 1})
    asked.get("/secret?secret=1")
    lines = [json.loads(line) for line in asked.lines]
    assert [(each["route"], each["status"]) for each in lines] == [
        ("/v1/embeddings", 200),
        ("/v1/embeddings", 422),
        ("other", 404),
    ]
    assert "secret" not in "".join(asked.lines)


def test_heat_maps_of_a_text_and_of_its_words_are_pngs(asked: Asked, able: Path, red: bytes) -> None:
    tree = {"model": able.name, "image": data_url(red), "text": "red square"}
    maps = ok(asked.post("/v1/explain", tree))["maps"]
    assert [each["word"] for each in maps] == ["red square", "red", "square"]
    for each in maps:
        head, _, png = each["png"].partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(png))) as overlay:
            assert overlay.size == (256, 256)
    (whole,) = ok(asked.post("/v1/explain", {**tree, "words": False}))["maps"]
    assert whole == maps[0]
    assert asked.post("/v1/explain", {**tree, "text": " "}).json()["error"].startswith("text: is empty")
