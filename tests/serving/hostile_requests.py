"""Requests that nobody sends by mistake alone, from a seed."""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image

from tests.conftest import toy_picture
from tests.serving.process import request

ROUTES = ("/v1/embeddings", "/v1/classify", "/v1/caption", "/v1/answer", "/v1/search")
GOOD = {
    "/v1/embeddings": {"input": ["a red square", "PICTURE"]},
    "/v1/classify": {"image": "PICTURE", "labels": ["red", "blue"]},
    "/v1/caption": {"image": "PICTURE", "how": "beam", "width": 3},
    "/v1/answer": {"image": "PICTURE", "question": "is it red?"},
    "/v1/search": {"text": "a red square", "top": 3},
    "/v1/explain": {"image": "PICTURE", "text": "a red square"},
}


class Case(NamedTuple):
    name: str
    bytes: bytes
    whole: bool = True
    """The request is complete, so that an answer is due."""
    may_succeed: bool = False
    """It may happen to be a good one."""


def data_url(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def good(route: str) -> dict:
    return json.loads(json.dumps(GOOD[route]).replace("PICTURE", data_url(toy_picture("red", "square", 0))))


def case(seed: int) -> Case:
    """One of the kinds below, in turn."""
    draw = random.Random(seed)
    kind = KINDS[seed % len(KINDS)]
    return kind(draw, draw.choice(ROUTES))._replace(name=f"{seed}: {kind.__name__}")


def post(route: str, body: bytes, **headers: str) -> bytes:
    return request("POST", route, body, **headers)


def noise(draw: random.Random, route: str) -> Case:
    return Case("", post(route, draw.randbytes(draw.randrange(200))))


def cut_json(draw: random.Random, route: str) -> Case:
    body = json.dumps(good(route)).encode()
    return Case("", post(route, body[: draw.randrange(len(body) - 1)]))


def changed_bytes(draw: random.Random, route: str) -> Case:
    body = bytearray(json.dumps(good(route)).encode())
    for _ in range(draw.randrange(1, 9)):
        body[draw.randrange(len(body))] = draw.randrange(256)
    return Case("", post(route, bytes(body)), may_succeed=True)


def strange_values(draw: random.Random, route: str) -> Case:
    tree = good(route)
    values = [None, True, -1, 0, 1e308, 10**40, "", " ", "\x00", "\ud800", [], {}, [[]], [None], "a" * 9000, {"a": {}}]
    values += [
        "../../etc/passwd",
        "data:image/png;base64,",
        "data:image/png;base64,@@",
        "http://localhost/x.png",
        "🦜" * 99,
    ]
    fields = [
        *tree,
        "model",
        "top",
        "how",
        "index",
        "head",
        "heads",
        "templates",
        "width",
        "seed",
        "prompt",
        "nonsense",
    ]
    for field in draw.sample(fields, draw.randrange(1, 4)):
        tree[field] = draw.choice(values)
    return Case("", post(route, json.dumps(tree).encode()), may_succeed=True)


def deep(draw: random.Random, route: str) -> Case:
    depth = draw.choice([8, 100, 100_000])
    opening, closing = draw.choice([("[", "]"), ('{"a":', "}")])
    inside = opening * depth + ("1" if opening != "[" else "") + closing * depth
    return Case("", post(route, ('{"input": ' + inside + "}").encode()))


def many(draw: random.Random, route: str) -> Case:
    count = draw.choice([300, 3_000, 200_000])
    fields = {"/v1/embeddings": "input", "/v1/classify": "labels", "/v1/answer": "questions"}
    tree = {**good(route), fields.get(route, "input"): [f"text {n}" for n in range(count)]}
    return Case("", post(route, json.dumps(tree).encode()))


def not_json_numbers(draw: random.Random, route: str) -> Case:
    return Case(
        "", post(route, b'{"input": "a", "top": %s}' % draw.choice([b"NaN", b"Infinity", b"1e999", b"9" * 5000]))
    )


def bad_picture(draw: random.Random, route: str) -> Case:
    picture = draw.choice(PICTURES)(draw)
    tree = {"input": [data_url(picture)]} if route == "/v1/embeddings" else {"image": data_url(picture)}
    if route == "/v1/answer":
        tree["question"] = "what?"
    return Case("", post(route, json.dumps(tree).encode()))


def bad_form(draw: random.Random, route: str) -> Case:
    field = "input" if route == "/v1/embeddings" else "image"
    content = draw.choice(PICTURES)(draw)
    head = f'Content-Disposition: form-data; name="{field}"; filename="{draw.choice(NAMES)}"\r\n\r\n'.encode()
    body = b"--x\r\n" + head + content + b"\r\n--x--\r\n"
    broken = draw.choice(
        [
            body,
            body[: draw.randrange(10, len(body) - 6)],
            body.replace(b"--x", b"--y"),
            b"--x\r\n\r\n" + content + b"\r\n--x--\r\n",
            b"--x\r\nContent-Disposition: form-data\r\n\r\nq\r\n--x--\r\n",
            (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nq\r\n' * 3000) + b"--x--\r\n",
            b"--x\r\n" + b"A: b\r\n" * 500 + b"\r\nq\r\n--x--\r\n",
        ]
    )
    boundary = draw.choice(["x", "x", "x", "", "x" * 300])
    return Case("", post(route, broken, Content_Type=f"multipart/form-data; boundary={boundary}"))


def wrong_type(draw: random.Random, route: str) -> Case:
    kind = draw.choice(
        ["text/plain", "", "application/x-www-form-urlencoded", "application/xml", "é", "application/json;" * 99]
    )
    return Case("", post(route, json.dumps(good(route)).encode(), Content_Type=kind), may_succeed=True)


def strange_address(draw: random.Random, route: str) -> Case:
    parts = [
        "..",
        "%2e%2e",
        "%00",
        "etc",
        "passwd",
        "v1",
        "thumbnails",
        "able",
        "held",
        "-1",
        "99999999999999999999",
        "1e3",
        "%ff",
    ]
    address = "/" + "/".join(draw.choice(parts) for _ in range(draw.randrange(1, 7)))
    return Case("", request(draw.choice(["GET", "POST", "HEAD"]), address), may_succeed=True)


def strange_method(draw: random.Random, route: str) -> Case:
    method = draw.choice(["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "GET", "BREW", "P" * 60])
    return Case("", request(method, route, json.dumps(good(route)).encode()))


def stranger(draw: random.Random, route: str) -> Case:
    headers = draw.choice(
        [
            {"Host": "evil.example"},
            {"Host": ""},
            {"Host": "localhost:99999999"},
            {"Host": "[::1"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://localhost:1"},
            {"Sec_Fetch_Site": "cross-site"},
        ]
    )
    return Case("", post(route, json.dumps(good(route)).encode(), **headers))


def lying_length(draw: random.Random, route: str) -> Case:
    body = json.dumps(good(route)).encode()
    said = draw.choice(["-1", "abc", "1e3", str(10**30), "99999999", "+5", "0x10"])
    return Case("", post(route, body, Content_Length=said))


def short_body(draw: random.Random, route: str) -> Case:
    body = json.dumps(good(route)).encode()
    return Case("", post(route, body, Content_Length=str(len(body) + draw.randrange(1, 5000))), whole=False)


def lying_chunks(draw: random.Random, route: str) -> Case:
    head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    chunks = draw.choice(
        [b"zz\r\nabc\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"-1\r\n\r\n", b"3;" + b"x" * 70_000, b"FFFFFFFFFFFFFFFFFF\r\n"]
    )
    return Case("", (head + "Transfer-Encoding: chunked\r\n\r\n").encode() + chunks, whole=False)


def both_lengths(draw: random.Random, route: str) -> Case:
    body = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    return Case(
        "", post(route, body, Transfer_Encoding=draw.choice(["chunked", "gzip", "chunked, chunked"])), whole=False
    )


def large_head(draw: random.Random, route: str) -> Case:
    more = draw.choice([{f"X-{n}": "y" for n in range(20_000)}, {"X": "y" * 200_000}])
    return Case("", post(route, b"{}", **more))


def no_http(draw: random.Random, route: str) -> Case:
    first = draw.choice(
        [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"\x00" * 400, b"GET / HTTP/9.9\r\n\r\n", b"SSH-2.0-x\r\n"]
    )
    return Case("", first + draw.randbytes(40) + b"\r\n\r\n", whole=False)


def injected(draw: random.Random, route: str) -> Case:
    tree = {"model": "x\r\nSet-Cookie: a=b", "input": "a", **({} if route == "/v1/embeddings" else good(route))}
    return Case("", post(route, json.dumps({**tree, "model": "x\r\nSet-Cookie: a=b"}).encode()))


# -- pictures that are none, or should not be looked at


def cut_picture(draw: random.Random) -> bytes:
    content = encoded(draw.choice(["PNG", "JPEG", "WEBP"]))
    return content[: draw.randrange(1, len(content) * 3 // 4)]


def foreign(draw: random.Random) -> bytes:
    return draw.choice(
        [
            encoded("GIF"),
            encoded("BMP"),
            b"<svg onload='x'/>",
            b"PK\x03\x04" * 9,
            b"\x80\x04\x95",
            b"%PDF-1.7",
            b"\x00" * 99,
        ]
    )


def bomb(draw: random.Random) -> bytes:
    """A PNG of a few hundred bytes that claims gigapixels."""
    width, height = draw.choice([(60_000, 60_000), (2**31 - 1, 1), (1, 2**31 - 1), (5_000, 5_000), (0, 0), (1, 1)])

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def nothing(draw: random.Random) -> bytes:
    return b""


def encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, kind)
    return buffer.getvalue()


PICTURES: tuple[Callable[[random.Random], bytes], ...] = (cut_picture, foreign, bomb, nothing)
NAMES = ("a.png", "../../../etc/passwd", "x" * 4000, "\\\\host\\share", "a\x00b")
KINDS: tuple[Callable[[random.Random, str], Case], ...] = (
    noise,
    cut_json,
    changed_bytes,
    strange_values,
    deep,
    many,
    not_json_numbers,
    bad_picture,
    bad_form,
    wrong_type,
    strange_address,
    strange_method,
    stranger,
    lying_length,
    short_body,
    lying_chunks,
    both_lengths,
    large_head,
    no_http,
    injected,
)
