import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmpretrain.core.errors import DataError
from mmpretrain.data.dataset import open_splits
from mmpretrain.data.duplicates import (
    Duplicates,
    Near,
    components,
    find_duplicates,
    first_of_equals,
    groups_of,
)
from mmpretrain.data.fingerprints import Fingerprints, fingerprints, join, look, normalise_caption, shards_of
from mmpretrain.data.neighbours import near_pairs
from mmpretrain.data.uids import datacomp_array, read_uids, write_uids
from tests.conftest import write_card, write_tar

PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


def drawing(seed: int, size: int = 96, quality: int | None = None) -> bytes:
    """A picture with broad shapes; as JPEG where a quality is given."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).resize((size, size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if quality else "PNG", **({"quality": quality} if quality else {}))
    return buffer.getvalue()


def lay_out(folder: Path, **splits: list[tuple[bytes, str]]) -> str:
    """A dataset with one shard a split and samples of (picture, caption)."""
    for name, pairs in splits.items():
        samples = [
            {"__key__": f"{name}{number}", "png": picture, "txt": caption.encode(), "json": json.dumps({}).encode()}
            for number, (picture, caption) in enumerate(pairs)
        ]
        write_tar(folder / f"{name}.tar", samples)
    counts = {name: ([f"{name}.tar"], len(pairs)) for name, pairs in splits.items()}
    write_card(folder, counts, text_group=None, label=None, classes=[], gallery=None)
    return str(folder)


def prints_of(name: str) -> Fingerprints:
    return join(fingerprints(shards_of(open_splits(name))))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 9), st.integers(2, 200))
def test_near_pairs_are_those_that_comparing_all_with_all_finds(seed: int, radius: int, length: int):
    generator = np.random.default_rng(seed)
    hashes = generator.integers(0, 2**64, length, dtype=np.uint64)
    for place in range(1, length):  # many near ones: a few bits of an earlier hash turned over
        turned = generator.integers(0, 64, generator.integers(1, 12)).astype(np.uint64)
        hashes[place] = hashes[generator.integers(0, place)] ^ np.bitwise_or.reduce(np.uint64(1) << turned)
    left, right = np.triu_indices(length, 1)
    near = np.bitwise_count(hashes[left] ^ hashes[right]) <= radius
    np.testing.assert_array_equal(near_pairs(hashes, radius), np.stack([left[near], right[near]], axis=1))


@given(PAIRS)
def test_linked_places_share_a_component_and_others_do_not(pairs: list[tuple[int, int]]):
    labels = components(20, [np.array(pairs, dtype=np.int64).reshape(-1, 2)])
    reached = [{place} for place in range(20)]
    for left, right in pairs * 20:
        reached[left] |= reached[right]
        reached[right] |= reached[left]
    for left in range(20):
        for right in range(20):
            assert (labels[left] == labels[right]) == bool(reached[left] & reached[right])


@given(PAIRS, st.lists(st.integers(0, 5), min_size=20, max_size=20), st.permutations(range(20)))
def test_what_is_dropped_is_equal_or_near_to_something_kept(
    pairs: list[tuple[int, int]], pixels: list[int], order: list[int]
):
    first_N = first_of_equals(np.array(pixels))
    near = first_N[np.array([pair for pair in pairs if pixels[pair[0]] != pixels[pair[1]]], dtype=int).reshape(-1, 2)]
    kept_N = Duplicates(pairs=near, first_N=first_N).kept(np.array(order))
    links = {tuple(pair) for pair in near.tolist()} | {(b, a) for a, b in near.tolist()}
    firsts = [int(first_N[place]) for place in np.flatnonzero(kept_N)]
    assert len(firsts) == len(set(firsts))
    assert not any((left, right) in links for left in firsts for right in firsts)
    for place in range(20):
        first = int(first_N[place])
        assert first in firsts or any((first, other) in links for other in firsts)


def test_groups_are_the_labels_that_several_share():
    assert groups_of(np.array([4, 1, 4, 2, 1, 9])) == [[0, 2], [1, 4]]


def test_resized_and_recompressed_copies_are_found_across_splits(tmp_path: Path):
    train = [(drawing(seed), f"picture {seed}") for seed in range(20)]
    test = [
        (drawing(3, size=64), "small"),
        (drawing(5, quality=60), "as jpeg"),
        (drawing(7), "same"),
        (drawing(99), "new"),
    ]
    prints = prints_of(lay_out(tmp_path, train=train, test=test))
    found = find_duplicates(prints, Near())
    groups = [{prints.name(place).key for place in group} for group in groups_of(found.components())]
    assert groups == [{"train3", "test0"}, {"train5", "test1"}, {"train7", "test2"}]
    assert groups_of(find_duplicates(prints, None).components()) == [[2, 11]]


def test_equal_pixels_in_different_files_are_equal(tmp_path: Path):
    buffer = io.BytesIO()
    Image.open(io.BytesIO(drawing(1))).save(buffer, "PNG", compress_level=0)
    prints = prints_of(lay_out(tmp_path, train=[(drawing(1), "a"), (buffer.getvalue(), "b")]))
    assert prints.pixels_N[0] == prints.pixels_N[1]
    assert prints.bytes_N[0] != prints.bytes_N[1]


def test_another_colour_is_another_picture(tmp_path: Path):
    def heart(colour: tuple[int, int, int]) -> bytes:
        image = Image.new("RGB", (64, 64), "white")
        image.paste(Image.new("RGB", (30, 40), colour), (10, 12))
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()

    name = lay_out(tmp_path, train=[(heart((200, 0, 0)), "red"), (heart((0, 102, 0)), "green")])
    prints = prints_of(name)
    assert prints.phash_N[0] == prints.phash_N[1]
    assert groups_of(find_duplicates(prints, Near()).components()) == []


def test_flat_pictures_are_only_equal_never_near():
    assert not look(torch.full((3, 20, 20), 200, dtype=torch.uint8))[3]


def test_captions_are_equal_once_case_signs_and_spaces_are_dropped():
    assert normalise_caption("  Die STRASSE, nachts! ") == normalise_caption("die straße nachts")
    assert normalise_caption("ﬁne art") == "fine art"
    assert normalise_caption("❤️") != normalise_caption("⭐")


def test_damaged_samples_are_named_and_left_out(tmp_path: Path):
    name = lay_out(tmp_path, train=[(drawing(1), "a"), (b"no picture", "b")])
    prints = prints_of(name)
    assert len(prints) == 1
    assert [(fault.key, fault.reason) for fault in prints.faults] == [("train1", "unknown_image")]


def test_several_processes_see_what_one_sees(tmp_path: Path):
    name = lay_out(tmp_path, train=[(drawing(seed), f"{seed}") for seed in range(4)], test=[(drawing(9), "x")])
    alone, shared = prints_of(name), join(fingerprints(shards_of(open_splits(name)), workers=2))
    np.testing.assert_array_equal(alone.phash_N, shared.phash_N)
    assert [alone.name(place) for place in range(5)] == [shared.name(place) for place in range(5)]


def test_a_list_of_samples_comes_back_as_it_was_written(tmp_path: Path):
    uids = [("a.tar", "x/1"), ("b.tar", "ü 2")]
    write_uids(tmp_path / "keep.tsv", uids)
    assert read_uids(tmp_path / "keep.tsv") == set(uids)
    (tmp_path / "keep.tsv").write_text("only one\n")
    with pytest.raises(DataError, match="line 1 is not shard<TAB>key"):
        read_uids(tmp_path / "keep.tsv")


def test_datacomp_lists_are_sorted_halves():
    array = datacomp_array(["f" * 32, "0" * 31 + "1"])
    assert array.tolist() == [(0, 1), (2**64 - 1, 2**64 - 1)]
