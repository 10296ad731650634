"""Which format a source has: by what is in its folder and in the files with captions. Assembles all formats."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from mmpretrain.core.errors import ConfigError
from mmpretrain.data.convert import delimited, documents, json_objects
from mmpretrain.data.convert.benchmark_set import BenchmarkSet, is_benchmark_set
from mmpretrain.data.convert.caption_files import CaptionFiles
from mmpretrain.data.convert.class_folders import ClassFolders
from mmpretrain.data.convert.coco import CocoCaptions, KarpathyCaptions
from mmpretrain.data.convert.columns import Wanted
from mmpretrain.data.convert.encoding import check_encoding
from mmpretrain.data.convert.joined import SPLITS, Joined
from mmpretrain.data.convert.json_table import open_json_table
from mmpretrain.data.convert.parquet import open_parquet
from mmpretrain.data.convert.picture import FOREIGN_SUFFIXES, IMAGE_SUFFIXES, files_below, names_picture, suffix_of
from mmpretrain.data.convert.record import Source
from mmpretrain.data.convert.vqa import Questions

Format = Literal["auto", "text_files", "classes", "documents"]
"""How a folder without a table is read; auto looks."""
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Tables of the Hugging Face hub's ImageFolder, each for the folder it stands in."""
TABLES = delimited.SUFFIXES | json_objects.SUFFIXES | {".json", ".parquet"}


def detect(source: Path, captions: Sequence[Path], wanted: Wanted, layout: Format = "auto") -> Source:
    """The source as one of the known formats.

    Args:
        source: a folder of pictures or texts, or one table whose pictures lie beside it.
        captions: tables for the pictures of the folder; two for VQAv2's questions and annotations.

    Raises:
        ConfigError: it is none of them, or an option does not fit; says what to do.
        DataError: it is empty or damaged.
    """
    for path in (source, *captions):
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
    if source.is_file():
        return _detect_file(source, captions, wanted, layout)
    if captions:
        return open_tables(captions, source, wanted)
    return _detect_folder(source, wanted, layout)


def _detect_file(source: Path, captions: Sequence[Path], wanted: Wanted, layout: Format) -> Source:
    if captions:
        raise ConfigError(f"{source}: is a file; give the folder of the pictures, and the table with --captions")
    if layout == "documents" or suffix_of(source.name) == ".md" or _is_text_only(source):
        return documents.open_documents(source, wanted)
    return open_tables([source], source.parent, wanted)


def _is_text_only(path: Path) -> bool:
    """JSON Lines with a text and nothing that names a picture."""
    if suffix_of(path.name) not in json_objects.SUFFIXES:
        return False
    row = json_objects.sample_objects(path, "utf-8")[0]
    return isinstance(row.get("text"), str) and not any(
        isinstance(cell, str) and names_picture(cell) for cell in row.values()
    )


def _detect_folder(folder: Path, wanted: Wanted, layout: Format) -> Source:
    if layout == "auto" and is_benchmark_set(folder):
        return BenchmarkSet(folder)
    files = files_below(folder, wanted.follow_links)
    tables = [path for path in files if os.path.basename(path).lower() in METADATA]
    if layout == "auto" and tables:
        return _metadata(folder, tables, wanted)
    pictures = [path for path in files if suffix_of(path) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES]
    stored = [path for path in files if suffix_of(path) == ".parquet"]
    if layout == "auto" and stored and not pictures:
        return Joined([("", open_parquet(folder / path, folder, wanted)) for path in stored])
    tops = sorted({path.split("/")[0] for path in pictures})
    if tops and all(top.lower() in SPLITS and (folder / top).is_dir() for top in tops):
        parts = [(top, _of_pictures(folder / top, wanted, layout)) for top in tops]
        return Joined(parts, in_splits=True)
    return _of_pictures(folder, wanted, layout)


def _of_pictures(folder: Path, wanted: Wanted, layout: Format) -> Source:
    """Pictures with text files, in class folders, or no pictures at all."""
    files = files_below(folder, wanted.follow_links)
    pictures = [path for path in files if suffix_of(path) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES]
    encoding = check_encoding(wanted.encoding) if wanted.encoding else "utf-8"
    names = set(files)
    if layout == "documents" or (layout == "auto" and not pictures):
        return documents.open_documents(folder, wanted)
    if layout == "text_files" or (
        layout == "auto" and any(f"{os.path.splitext(path)[0]}.txt" in names for path in pictures)
    ):
        return CaptionFiles(folder, encoding, wanted.follow_links)
    tables = [path for path in files if suffix_of(path) in TABLES - {".txt"}]
    if layout == "auto" and tables:
        raise ConfigError(f"{folder}: which file has the captions? e.g. --captions {folder / tables[0]}")
    if layout == "classes" or sum("/" in path for path in pictures) > len(pictures) / 2:
        return ClassFolders(folder, wanted.follow_links)
    raise ConfigError(
        f"{folder}: {len(pictures):,} pictures without captions; put a .txt of the same name beside each, sort them "
        "into class folders, or name a table with --captions"
    )


def _metadata(folder: Path, tables: Sequence[str], wanted: Wanted) -> Source:
    """The hub's tables, each for its own folder."""
    parents = [os.path.dirname(path) for path in tables]
    sources = [open_table(folder / path, (folder / path).parent, wanted) for path in tables]
    in_splits = all(parent.lower() in SPLITS for parent in parents)
    return Joined(list(zip(parents, sources, strict=True)), in_splits)


def open_tables(paths: Sequence[Path], folder: Path, wanted: Wanted) -> Source:
    """One table, VQAv2's pair, or several tables one after the other."""
    trees = {path: json_objects.read_json(path) for path in paths if suffix_of(path.name) == ".json"}
    questions = [path for path, tree in trees.items() if _has(tree, "questions")]
    if questions:
        answers = [path for path in paths if path not in questions]
        if len(questions) > 1 or len(answers) > 1 or (answers and not _has(trees.get(answers[0]), "annotations")):
            raise ConfigError("--captions: VQAv2 takes one file of questions and at most one of annotations")
        annotations = trees[answers[0]] if answers else None
        return Questions(questions[0], folder, trees[questions[0]], annotations, wanted.follow_links)
    sources = [open_table(path, folder, wanted, trees.get(path)) for path in paths]
    return sources[0] if len(sources) == 1 else Joined([("", source) for source in sources])


def open_table(path: Path, folder: Path, wanted: Wanted, tree: Any = None) -> Source:
    """A table by its suffix, and where that is .json by its keys.

    Raises:
        ConfigError: no known table.
    """
    suffix = suffix_of(path.name)
    if suffix == ".parquet":
        return open_parquet(path, folder, wanted)
    if suffix in json_objects.SUFFIXES or (suffix == ".json" and isinstance(tree, list)):
        return open_json_table(path, folder, wanted)
    if suffix in delimited.SUFFIXES:
        return delimited.open_delimited(path, folder, wanted)
    if _has(tree, "images") and _has(tree, "annotations") and any("caption" in row for row in tree["annotations"][:1]):
        return CocoCaptions(path, folder, tree, wanted.follow_links)
    if _has(tree, "images") and any("sentences" in row for row in tree["images"][:1]):
        return KarpathyCaptions(path, folder, tree, wanted.follow_links)
    raise ConfigError(
        f"{path}: no table of captions that is known; use CSV, TSV, JSON Lines, Parquet, a JSON array of objects, COCO "
        "captions, Karpathy's or VQAv2's JSON"
    )


def _has(tree: Any, name: str) -> bool:
    """Whether a JSON object has a list of objects under a name."""
    rows = tree.get(name) if isinstance(tree, dict) else None
    return isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
