from pathlib import Path

import pytest

from mmpretrain.core.errors import MmpretrainError
from mmpretrain.core.files import (
    append_json_line,
    folder_in_one_step,
    read_json_lines,
    require_space,
    sha256,
    write_atomic,
)


def test_a_failed_folder_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), folder_in_one_step(tmp_path / "step") as folder:
        (folder / "half").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_has_its_name_and_its_files(tmp_path: Path):
    with folder_in_one_step(tmp_path / "step") as folder:
        (folder / "whole").write_text("x")
        assert not (tmp_path / "step").exists()
    assert [path.name for path in (tmp_path / "step").iterdir()] == ["whole"]


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path):
    (tmp_path / "step.tmp").mkdir()
    (tmp_path / "step.tmp" / "old").write_text("x")
    with folder_in_one_step(tmp_path / "step") as folder:
        (folder / "new").write_text("x")
    assert [path.name for path in (tmp_path / "step").iterdir()] == ["new"]


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path):
    path = tmp_path / "lines.jsonl"
    append_json_line(path, {"a": "é"})
    with path.open("a") as file:
        file.write('{"a": 2')
    assert read_json_lines(path) == [{"a": "é"}]


def test_atomic_writing_replaces_the_whole_content(tmp_path: Path):
    path = tmp_path / "file"
    write_atomic(path, "long content")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert sha256(path) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_missing_space_is_told_before_the_work(tmp_path: Path):
    with pytest.raises(MmpretrainError, match=r"needs .* MB and .* MB are free; free some space"):
        require_space(tmp_path / "not" / "yet", 10**18, "a run")
    require_space(tmp_path, 1, "a run")
