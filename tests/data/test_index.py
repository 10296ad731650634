import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mmpretrain.core.errors import DataError
from mmpretrain.data.faults import BadSample
from mmpretrain.data.index import SUFFIX, Keys
from mmpretrain.data.manifest import read_manifest
from mmpretrain.data.samples import ShardReader
from mmpretrain.data.scan import scan
from mmpretrain.data.shards import open_index
from mmpretrain.recipes.datasets.index import index as index_dataset
from tests.conftest import toy_samples, write_card, write_tar


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    path = tmp_path / "00000.tar"
    write_tar(path, toy_samples(5))
    return path


def test_every_member_is_read_back_by_its_offset(shard: Path):
    index = open_index(shard)
    members = {
        f"{key}.{suffix}": content
        for row, key in enumerate(index.keys)
        for suffix, content in ShardReader().read(index, row).items()
    }
    with tarfile.open(shard) as tar:
        assert members == {info.name: tar.extractfile(info).read() for info in tar}


def test_an_index_is_written_on_first_use_and_read_from_then_on(shard: Path):
    made, read = open_index(shard), open_index(shard)
    assert (shard.parent / (shard.name + SUFFIX)).is_file()
    assert made.keys == read.keys
    assert made.digest == read.digest
    assert [list(made.members(row)) for row in range(5)] == [list(read.members(row)) for row in range(5)]


def test_a_read_only_folder_needs_no_index_file(shard: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr("mmpretrain.data.shards.write_index", refuse)
    assert len(open_index(shard)) == 5


def test_a_shard_that_grew_is_refused(shard: Path):
    open_index(shard)
    with shard.open("ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(DataError, match=r"is not the file that 00000\.tar\.index describes"):
        open_index(shard)


def test_a_changed_byte_is_refused_when_verifying_and_when_read(shard: Path):
    index = open_index(shard)
    offset = next(member.offset for member in index.members(2) if member.suffix == "png")
    content = bytearray(shard.read_bytes())
    content[offset + 20] ^= 1
    shard.write_bytes(content)
    with pytest.raises(DataError, match="is not the file"):
        open_index(shard, verify=True)
    with pytest.raises(BadSample, match=r"checksum: \.png at byte \d+ differs"):
        ShardReader().read(open_index(shard), 2)


def test_a_cut_at_every_block_is_named(shard: Path, tmp_path: Path):
    content = shard.read_bytes()
    used = max(m.offset + m.size for row in range(5) for m in scan(shard).members(row))
    for length in range(512, used, 512):
        cut = tmp_path / "cut.tar"
        cut.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.tar"):
            scan(cut)


def test_a_damaged_header_in_the_middle_is_named(shard: Path):
    content = bytearray(shard.read_bytes())
    with tarfile.open(shard) as tar:
        header = tar.getmembers()[7].offset
    content[header + 3] ^= 0xFF
    shard.write_bytes(content)
    with pytest.raises(DataError, match=f"damaged header at byte {header}"):
        scan(shard)


def tar_of(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_of_a_member_that_stands_twice_the_first_counts_and_the_second_is_noted(tmp_path: Path):
    index = open_index(tar_of(tmp_path / "twice.tar", ("a.txt", b"one"), ("a.TXT", b"two")))
    assert ShardReader().read(index, 0) == {"txt": b"one"}
    assert index.notes == open_index(index.path).notes == ("'a.TXT' stands twice, the first one counts",)


@pytest.mark.parametrize("name", ["a\nb.txt", "a\0b.txt", "a\x1b[31m.txt", "\u202egpj.txt"])
def test_a_name_that_could_fool_a_reader_is_left_out_and_noted(tmp_path: Path, name: str):
    index = scan(tar_of(tmp_path / "odd.tar", (name, b"x"), ("good.txt", b"y")))
    assert index.keys[-1] == "good"
    assert all(key.isprintable() for key in index.keys)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("name", ["folder/" * 20 + "key.txt", "schön/日本.txt", "a.b/c.d.txt"])
def test_long_and_foreign_names_are_read_in_every_dialect(tmp_path: Path, form: int, name: str):
    with tarfile.open(tmp_path / "long.tar", "w", format=form) as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    index = scan(tmp_path / "long.tar")
    folder, _, last = name.rpartition("/")
    assert index.keys == [f"{folder}/{last.partition('.')[0]}"]


def test_equal_pictures_and_captions_share_their_groups(tmp_path: Path):
    write_tar(tmp_path / "a.tar", [{**sample, "txt": b"same"} for sample in toy_samples(2)])
    write_tar(tmp_path / "b.tar", toy_samples(1))
    first, second = scan(tmp_path / "a.tar"), scan(tmp_path / "b.tar")
    assert first.image_groups[0] == second.image_groups[0] != first.image_groups[1]
    assert first.text_groups[0] == first.text_groups[1] != second.text_groups[0]


def test_members_of_one_sample_need_not_be_neighbours(tmp_path: Path):
    path = tmp_path / "interleaved.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("a.txt", "b.txt", "a.json", "b.json"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    index = scan(path)
    assert index.keys == ["a", "b"]
    assert ShardReader().read(index, 1) == {"txt": b"b.txt", "json": b"b.json"}


@pytest.mark.parametrize("content", [b"", b"not a tar at all" * 100, b"\0" * 10240])
def test_what_is_no_tar_is_named(tmp_path: Path, content: bytes):
    path = tmp_path / "bad.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.tar"):
        scan(path)


def test_a_damaged_index_says_what_to_do(shard: Path):
    open_index(shard)
    shard.with_name(shard.name + SUFFIX).write_bytes(b"garbage")
    with pytest.raises(DataError, match="delete it and index again"):
        open_index(shard)


def header(size: bytes) -> bytes:
    """A ustar header of a.txt with any size field and the right checksum."""
    info = tarfile.TarInfo("a.txt").tobuf(tarfile.USTAR_FORMAT)
    block = bytearray(info[:124] + size.ljust(12, b"\0") + info[136:148] + b" " * 8 + info[156:])
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.timeout(20)
def test_a_size_that_leads_backwards_is_damage_and_no_endless_walk(tmp_path: Path):
    path = tmp_path / "backwards.tar"
    minus = b"\xff" + (2**88 - 512).to_bytes(11, "big")
    path.write_bytes(header(minus) + bytes(1024))
    with pytest.raises(DataError, match="damaged header"):
        scan(path)


def test_a_size_of_thousands_of_digits_is_not_believed(tmp_path: Path):
    path = tmp_path / "digits.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a.txt")
        info.size, info.pax_headers = 1, {"size": "9" * 5001}
        tar.addfile(info, io.BytesIO(b"x"))
    assert scan(path).keys == ["a"]


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"])), min_size=1, max_size=9))
def test_keys_are_a_list_that_is_decoded_when_asked(names: list[str]):
    keys = Keys.of(names)
    assert list(keys) == names == keys
    assert [keys[place] for place in range(len(keys))] == names
    assert keys[-1] == names[-1]
    assert keys[1:] == names[1:]
    with pytest.raises(IndexError):
        keys[len(names)]


def test_a_damaged_shard_does_not_keep_the_others_from_being_indexed(tmp_path: Path):
    for name in ("a.tar", "b.tar", "c.tar"):
        write_tar(tmp_path / name, toy_samples(3))
    for name in ("a.tar", "c.tar"):
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:3000])
    write_card(tmp_path, {"train": (["a.tar", "b.tar", "c.tar"], 9)})
    with pytest.raises(DataError) as caught:
        index_dataset(str(tmp_path), Console(quiet=True))
    assert [line.partition(".tar")[0][-1] for line in str(caught.value).splitlines()] == ["a", "c"]
    assert list(read_manifest(tmp_path)) == ["b.tar"]
