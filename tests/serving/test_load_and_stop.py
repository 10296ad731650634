"""Many clients at a time, and a server that is told to stop while they ask."""

import json
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.serving.clients import Account, load
from tests.serving.hostile_requests import good
from tests.serving.process import Server, receive, request, serving

GROWTH = 64 << 20


def warmed(server: Server) -> int:
    """Memory after one request of each kind."""
    for route in ("/v1/embeddings", "/v1/classify", "/v1/caption", "/v1/answer", "/v1/search"):
        assert server.post(route, good(route)).status == 200
    while len(server.lines()) < 5:  # a line is written behind its answer
        time.sleep(0.01)
    return server.resident


def figure(server: Server, name: str) -> float:
    lines = server.get("/metrics").body.decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"mmpretrain_{name} ")))


def nothing_lost(server: Server, account: Account, before: int) -> None:
    """Whatever the server took up, a client got an answer to."""
    lines = [line for line in server.lines() if line["route"] not in ("/health", "/metrics")][before:]
    assert all("fault" not in line for line in lines)
    assert len(lines) == len(account.statuses), (len(lines), account)
    assert set(account.statuses) <= {200, 503}
    assert sorted(line["status"] for line in lines) == sorted(account.statuses)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_two_hundred_clients_and_a_stop_in_the_middle_lose_nothing_that_was_accepted(
    able: Path, plain: Path, tmp_path: Path
) -> None:
    with serving([able, plain], tmp_path, "--queue", 64) as server:
        resident = warmed(server)
        before = len(server.lines())
        account = load(server, 200, seconds=20)
        grown = max(account.most_resident, server.resident) - resident
        nothing_lost(server, account, before)
        assert account.unanswered == account.refused == 0
        assert figure(server, "waiting_rows_peak") <= 64
        assert account.statuses.count(200) > 200
        print(
            f"{len(account.statuses):,} answers, {account.statuses.count(503):,} of them 503; memory grew by "
            f"{grown / 2**20:.1f} MiB; /health took {account.slowest_health:.2f} s at most"
        )
        assert grown < GROWTH
        before += len(account.statuses)
        stopped = load(server, 200, seconds=30, stop_after=5)
        assert server.process.wait(60) == 0
        nothing_lost(server, stopped, before)
        print(f"stop: {len(stopped.statuses):,} answers, {stopped.unanswered} requests that were never taken up")


def test_a_stop_in_the_middle_of_some_clients_loses_nothing_and_ends_with_0(able: Path, tmp_path: Path) -> None:
    with serving([able], tmp_path) as server:
        resident = warmed(server)
        before = len(server.lines())
        account = load(server, 30, seconds=20, stop_after=2)
        assert server.process.wait(60) == 0
        nothing_lost(server, account, before)
        assert account.statuses.count(200) > 10
        assert account.most_resident - resident < GROWTH
        assert "every accepted request was answered" in server.told.read_text()


def test_a_server_that_is_interrupted_waits_for_slow_senders_and_ends_with_130(able: Path, tmp_path: Path) -> None:
    limits = ("--connections", 8, "--header-seconds", 2)
    with serving([able], tmp_path, *limits) as server:
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
