"""Whatever a request gets wrong is told in one line, with the status that fits."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from mmpretrain.serving.served import Served
from tests.conftest import toy_picture
from tests.serving.hostile_requests import ROUTES, encoded, good
from tests.serving.site import Asked, data_url

RED = "RED"
WRONG: list[tuple[str, Any, int, str]] = [
    ("/v1/embeddings", {}, 422, "input: needs a text or a picture"),
    ("/v1/embeddings", {"input": " "}, 422, "input: is empty"),
    ("/v1/embeddings", {"input": [1]}, 422, "input: a text was expected"),
    ("/v1/embeddings", {"input": ["a", "x" * 8001]}, 413, "input.1: 8,001 characters are more than 8,000"),
    ("/v1/embeddings", {"input": ["a"] * 257}, 413, "input: 257 are more than 256; send several requests"),
    ("/v1/embeddings", {"input": ["a"] * 2001}, 422, "more than 2,000 values"),
    ("/v1/embeddings", {"input": "a", "modle": "x"}, 422, "modle: unknown key; did you mean 'model'?"),
    ("/v1/embeddings", {"input": "a", "model": "abel"}, 404, "no 'abel' is served; did you mean 'able'?"),
    ("/v1/embeddings", {"input": {"image": "http://a.example/x.png"}}, 422, "no address is read"),
    ("/v1/embeddings", {"input": "data:image/png;base64,@"}, 422, "image: is not base64"),
    ("/v1/embeddings", [1], 422, "an object with fields was expected"),
    ("/v1/classify", {"labels": ["a"]}, 422, "image: needs a picture"),
    ("/v1/classify", {"image": RED, "labels": ["a", "a"]}, 422, "labels: one stands twice"),
    ("/v1/classify", {"image": RED, "labels": ["a"], "templates": ["b"]}, 422, "templates.0: 'b' has no {}"),
    ("/v1/classify", {"image": RED, "labels": [f"{n}" for n in range(129)], "templates": ["{}", "a {}"]}, 413, "258"),
    ("/v1/classify", {"image": RED, "model": "plain"}, 404, "plain: learned contrastive and has no classes of its own"),
    ("/v1/classify", {"image": RED, "head": "clasification"}, 404, "did you mean 'classification'?"),
    ("/v1/classify", {"image": RED, "top": 0}, 422, "top: "),
    ("/v1/caption", {"image": RED, "model": "plain"}, 404, "writes no captions; ask able"),
    ("/v1/caption", {"image": RED, "top_k": 5}, 422, "top_k: goes with how sample, not with greedy"),
    ("/v1/caption", {"image": RED, "how": "beam", "width": 900}, 422, "width: "),
    ("/v1/caption", {"image": RED, "least_tokens": 15}, 422, "context is 12"),
    ("/v1/caption", {"image": RED, "prompt": "a " * 20}, 422, "prompt: "),
    ("/v1/answer", {"image": RED}, 422, "question: needs one"),
    ("/v1/answer", {"image": RED, "question": "a", "heads": ["b"]}, 404, "heads: able has no 'b'"),
    ("/v1/answer", {"question": "a"}, 422, "image: needs a picture"),
    (
        "/v1/answer",
        {"image": RED, "question": "a", "width": 2, "how": "beam", "answers": "listed"},
        422,
        "none of these",
    ),
    ("/v1/answer", {"image": RED, "question": "a", "model": "plain"}, 404, "answers no questions; ask able"),
    ("/v1/search", {}, 422, "give a text or an image"),
    ("/v1/search", {"text": "a", "image": RED}, 422, "one of them"),
    ("/v1/search", {"text": "a", "index": "hold"}, 404, "did you mean 'held'?"),
    ("/v1/search", {"text": "a", "model": "plain"}, 404, "has no index to search; ask able"),
]


def refusal(response: httpx.Response) -> str:
    """The one line of an error."""
    found = response.json()["error"]
    assert response.headers["content-type"] == "application/json"
    assert len(response.headers["x-request-id"]) == 16
    assert found
    assert "\n" not in found
    return found


@pytest.mark.parametrize(("route", "tree", "status", "said"), WRONG)
def test_a_wrong_request_is_told_in_one_line(
    asked: Asked, red: bytes, route: str, tree: Any, status: int, said: str
) -> None:
    tree = json.loads(json.dumps(tree).replace(RED, data_url(red)))
    response = asked.post(route, tree)
    assert (response.status_code, said in refusal(response)) == (status, True), response.text


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_refuses_what_is_no_request(asked: Asked, route: str) -> None:
    assert asked.post(route, good(route)).status_code == 200
    for content, kind, status in ((b"{", "application/json", 400), (b"\xff", "application/json", 400)):
        assert status == asked.post(route, content=content, headers={"content-type": kind}).status_code
    assert asked.post(route, content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert asked.get(route).status_code == 405
    assert "no boundary" in refusal(asked.post(route, content=b"", headers={"content-type": "multipart/form-data"}))


@pytest.mark.parametrize("route", [route for route in ROUTES if route != "/v1/embeddings"])
def test_pictures_that_are_none_or_too_large_are_told_apart(models: list[Served], route: str) -> None:
    asked = Asked(models, megapixels=0.001, body_megabytes=0.05)
    for content, status, said in (
        (b"", 422, "image: empty_image"),
        (b"GIF89a", 422, "image: unknown_image"),
        (toy_picture("red", "dot", 0)[:60], 422, "image: damaged_image"),
        (encoded("PNG"), 413, "image: large_image: 40 x 30 pixels are more than 1,000"),
        (bytes(60_000), 413, "body: is larger than 0.05 MB"),
    ):
        tree = {**{k: v for k, v in good(route).items() if route != "/v1/search"}, "image": data_url(content)}
        response = asked.post(route, tree)
        assert (response.status_code, said in refusal(response)) == (status, True), response.text
    asked.close()


def test_strangers_are_refused(asked: Asked) -> None:
    tree = good("/v1/search")
    for headers, status in (
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://localhost"}, 200),
        ({"host": "127.0.0.1:8000"}, 200),
        ({"host": "[::1]:8000", "origin": "http://[::1]:8000"}, 200),
    ):
        assert asked.post("/v1/search", tree, headers=headers).status_code == status, headers
    assert "evil.example" in refusal(asked.get("/v1/models", headers={"host": "evil.example"}))
    assert "access-control-allow-origin" not in asked.get("/v1/models").headers


def test_a_server_that_is_busy_slow_or_stopping_says_so(models: list[Served]) -> None:
    asked = Asked(models, queue=2, seconds=0.3)
    response = asked.post("/v1/embeddings", {"input": ["a", "b", "c"]})
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    asked.site.shop.batcher._wait = 60  # the first row waits for others that do not come
    response = asked.post("/v1/embeddings", {"input": "d"})
    assert (response.status_code, "took longer than 0.3 s" in refusal(response)) == (504, True)
    assert asked.site.shop.batcher.waiting == 0, "its work is dropped"
    asked.site.gate.stopping = True
    response = asked.post("/v1/embeddings", {"input": "e"})
    assert (response.status_code, response.headers["connection"]) == (503, "close")
    response = asked.get("/health")
    assert (response.status_code, refusal(response)) == (503, "the server stops")
    asked.close()


def test_a_body_that_trickles_is_told_off(models: list[Served]) -> None:
    asked = Asked(models, body_seconds=0.2)

    async def slowly() -> Any:
        for _ in range(9):
            yield b" "
            await asyncio.sleep(0.1)

    response = asked.post("/v1/embeddings", content=slowly(), headers={"content-type": "application/json"})
    assert (response.status_code, "did not arrive within 0.2 s" in refusal(response)) == (408, True)
    assert asked.site.gate.held == 0
    asked.close()


def test_thumbnails_of_nothing_are_refused(asked: Asked) -> None:
    for address, status in (
        ("/v1/thumbnails/able/held/29", 404),
        ("/v1/thumbnails/able/held/-1", 404),
        ("/v1/thumbnails/able/held/x", 404),
        ("/v1/thumbnails/able/..%2f..%2fcheckpoints/0", 404),
        ("/v1/thumbnails/plain/held/0", 404),
        ("/config.yaml", 404),
        ("/%2e%2e/app.py", 404),
        ("/v1/thumbnails/able/held/28", 200),
    ):
        assert asked.get(address).status_code == status, address


def test_an_index_of_other_weights_is_refused_with_the_command_that_makes_it_again(models: list[Served]) -> None:
    index = models[1].indexes["held"]
    before, index.problem = (
        index.problem,
        "runs/x/search/held: was made with other weights; make it again: mmpretrain ...",
    )
    try:
        asked = Asked(models)
        response = asked.post("/v1/search", {"text": "a"})
        assert (response.status_code, "make it again" in refusal(response)) == (409, True)
        asked.close()
    finally:
        index.problem = before
