"""The drawing of sizes and scores: every step is on it, and nothing that a name says becomes markup."""

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mmpretrain.report.sizes import HEIGHT, WIDTH, Mark, draw, round_sizes

SHARES = st.floats(0, 1)


@given(
    st.lists(
        st.builds(
            lambda name, across, value, spread: Mark(name, across, value, value - spread, value + spread),
            st.text("ab<&-", max_size=12),
            st.floats(0.01, 5000),
            SHARES,
            st.floats(0, 0.1),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_every_step_is_a_point_within_the_picture(marks: list[Mark]):
    svg = draw(marks, "score", "MB")
    points = [(float(x), float(y)) for x, y in re.findall(r'<circle class="\w+" cx="([-\d.]+)" cy="([-\d.]+)"', svg)]
    assert len(points) == len(marks)
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
    assert "<<" not in svg
    assert "<&" not in svg


@given(st.floats(0.01, 1000), st.floats(1.15, 100))
def test_there_are_round_sizes_between_any_two(low: float, factor: float):
    found = round_sizes(low, low * factor)
    assert 2 <= len(found) <= 9
    assert all(one < other for one, other in pairwise(found))
    assert found[0] >= low * 0.999
    assert found[-1] <= low * factor * 1.001
