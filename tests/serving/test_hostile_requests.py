"""Hostile requests to a real server: each gets an answer that says what is wrong, none a fault, and memory stays."""

import json
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.hostile_requests import KINDS, Case, case, good
from tests.serving.process import Answer, Server, receive, request, serving

SAMPLE, ALL = 60, 500
GROWTH = 64 << 20


@pytest.fixture(scope="module")
def server(plain: Path, able: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving([able, plain], tmp_path_factory.mktemp("server"), "--connections", 8, "--header-seconds", 2) as found:
        yield found


def ask(server: Server, hostile: Case) -> Answer:
    answer = server.send(hostile.bytes) if hostile.whole else half(server, hostile)
    if hostile.whole:
        assert answer.status, f"{hostile.name}: no answer"
    if answer.status:
        assert answer.status < 500, f"{hostile.name}: {answer}"
        assert hostile.may_succeed or not hostile.whole or answer.status >= 400, f"{hostile.name}: {answer}"
        if answer.status >= 400 and not hostile.bytes.startswith(b"HEAD"):
            assert answer.error(), hostile.name
        assert "set-cookie" not in answer.headers
    return answer


def half(server: Server, hostile: Case) -> Answer:
    """A request that does not end, whose sender closes its side."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(hostile.bytes)
        connection.shutdown(socket.SHUT_WR)
        return receive(connection)


def all_answered(server: Server, seeds: list[int]) -> None:
    for route in ("/v1/embeddings", "/v1/classify", "/v1/caption", "/v1/answer", "/v1/search"):
        answer = server.post(route, good(route))
        assert answer.status == 200, answer
    before = server.resident
    for seed in seeds:
        ask(server, case(seed))
    for route in ("/v1/embeddings", "/v1/classify", "/v1/caption", "/v1/answer", "/v1/search"):
        assert server.post(route, good(route)).status == 200
    grown = server.resident - before
    print(f"{len(seeds)} hostile requests: memory grew by {grown / 2**20:.1f} MiB")
    assert grown < GROWTH
    assert all("fault" not in line for line in server.lines()), "a fault of ours was logged"
    assert "Traceback" not in server.told.read_text()


def test_a_sample_of_hostile_requests_is_refused_one_by_one(server: Server) -> None:
    seeds = random.Random(0).sample(range(ALL), SAMPLE - len(KINDS))
    all_answered(server, [*range(len(KINDS)), *seeds])


@pytest.mark.fuzz
@pytest.mark.timeout(900)
def test_five_hundred_hostile_requests_are_refused_one_by_one(server: Server) -> None:
    all_answered(server, list(range(ALL)))


def test_slow_heads_are_told_off_and_a_stop_waits_for_slow_senders_and_ends_with_130(server: Server) -> None:
    slow_heads_are_told_off(server)
    body = json.dumps(good("/v1/classify")).encode()
    whole = request("POST", "/v1/classify", body)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(whole[:-20])
        time.sleep(0.3)
        ending = threading.Thread(target=server.stop, args=(signal.SIGINT,))
        ending.start()
        time.sleep(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        connection.sendall(whole[-20:])
        assert receive(connection).status == 200, "its body was being read when the stop came"
    ending.join()
    assert server.process.returncode == 130


def slow_heads_are_told_off(server: Server) -> None:
    """More connections than may be are refused at once, and those that say nothing do not last."""
    opened = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(8)]
    for connection in opened:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: loc")
    time.sleep(0.3)
    answer = server.get("/health")
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "8 connections are open" in answer.error()
    answers = [receive(connection) for connection in opened]
    assert {answer.status for answer in answers} == {408}
    assert "head: did not arrive within" in answers[0].error()
    for connection in opened:
        connection.close()
    assert server.get("/health").status == 200
