"""Many clients at a time, and a server that is told to stop while they ask."""

import time
from pathlib import Path

import pytest

from tests.serving.clients import Account, load
from tests.serving.hostile_requests import good
from tests.serving.process import Server, serving

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
    ends = time.monotonic() + 5
    lines: list[dict] = []
    while len(lines) < len(account.statuses) and time.monotonic() < ends:  # a line is written behind its answer
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
