import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from mmpretrain.data.card import as_ranges, expand_range
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.shards import open_index
from mmpretrain.data.writer import ShardWriter

NAMES = st.lists(
    st.builds(
        "{}{}.tar".format,
        st.sampled_from(["a-", "b", "1-"]),
        st.sampled_from(["0", "1", "2", "08", "09", "10", "098", "099", "100"]),
    ),
    max_size=12,
)


@given(NAMES)
def test_ranges_expand_to_the_names_they_stand_for(names: list[str]):
    assert [name for pattern in as_ranges(names) for name in expand_range(pattern)] == names


def test_shards_that_count_up_are_one_range():
    assert as_ranges([f"train-{number:05d}.tar" for number in range(120)]) == ["train-{00000..00119}.tar"]
    assert as_ranges(["a.tar", "b.tar", "c1.tar", "c2.tar"]) == ["a.tar", "b.tar", "c{1..2}.tar"]


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=12), st.integers(2000, 9000), st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read_back_in_shards_within_their_limits(contents: list[bytes], size: int, samples: int):
    with tempfile.TemporaryDirectory() as folder:
        with ShardWriter(Path(folder), "x", size, samples) as writer:
            for number, content in enumerate(contents):
                writer.write(f"{number:03d}", {"bin": content, "txt": b"t"})
        indexes = [open_index(path, verify=True) for path in writer.paths]
        read = [ShardReader().read(index, row)["bin"] for index in indexes for row in range(len(index))]
        assert read == contents
        assert writer.samples == len(contents)
        assert all(len(index) <= samples for index in indexes)
        assert all(len(index) == 1 or index.path.stat().st_size <= size + 10240 for index in indexes)
