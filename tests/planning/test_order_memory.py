import tracemalloc

import pytest

from mmpretrain.data.order import Order
from mmpretrain.planning.order_memory import order_bytes


def test_the_order_keeps_as_many_bytes_as_predicted():
    shards = [10_000] * 300
    tracemalloc.start()
    try:
        order = Order(shards, "digest", 0)
        order[0], order[len(shards) * 10_000]  # two epochs
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # and the samples of two windows
    assert kept - 2 * 8 * 256 * 64 == pytest.approx(order_bytes(sum(shards), len(shards)), rel=0.1)


def test_ten_thousand_million_pairs_take_a_gigabyte_in_each_process():
    assert 0.9e9 < order_bytes(10**10, 10**6) < 1.1e9
