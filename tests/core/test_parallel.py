import os

import pytest
import torch

from mmpretrain.core import parallel
from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.parallel import ordered_map


@pytest.mark.parametrize("workers", [0, 2, None])
def test_results_come_in_order_for_any_number_of_workers(workers: int | None):
    assert list(ordered_map(abs, range(-50, 50), workers, chunk=7)) == [abs(n) for n in range(-50, 50)]


def test_work_that_takes_a_while_goes_on_in_other_processes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parallel, "PATIENCE", -1.0)
    monkeypatch.setattr(parallel, "processors", lambda: 2)
    assert list(ordered_map(abs, range(-50, 50), None, chunk=7)) == [abs(n) for n in range(-50, 50)]


def test_no_items_start_no_process():
    assert list(ordered_map(abs, [], 2)) == []


def test_a_worker_has_one_thread():
    assert list(ordered_map(threads, range(3), workers=1)) == [1, 1, 1]


def threads(_: int) -> int:
    return torch.get_num_threads()


def test_a_worker_that_dies_is_one_sentence():
    with pytest.raises(MmpretrainError, match="a worker process died"):
        list(ordered_map(os._exit, [3], workers=1))
