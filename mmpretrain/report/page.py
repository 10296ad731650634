"""The page: every section that the run folder has material for, in one file that needs nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmpretrain import __version__
from mmpretrain.core.files import write_atomic
from mmpretrain.core.run import Run, now
from mmpretrain.report.answers import build_answers
from mmpretrain.report.captioned import build_captioned
from mmpretrain.report.classes import build_classes
from mmpretrain.report.compressed import build_compressed
from mmpretrain.report.curves import build_curves
from mmpretrain.report.data_facts import build_data_facts
from mmpretrain.report.embedding_map import build_maps
from mmpretrain.report.events import build_events
from mmpretrain.report.examples import build_examples
from mmpretrain.report.few_shot import build_few_shot
from mmpretrain.report.folder import Record, read_folder
from mmpretrain.report.looks import build_looks
from mmpretrain.report.masks import build_masks
from mmpretrain.report.reproduce import build_recipe, build_settings
from mmpretrain.report.results import build_results
from mmpretrain.report.speed import build_speed
from mmpretrain.report.verdict import build_verdict
from mmpretrain.report.written import build_written

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """One part of the page; `build` gives its content, None where the folder has nothing for it."""

    name: str
    """The template's name and the anchor."""
    title: str
    build: Callable[[Record], Any | None]
    source: str
    """The file that is missing when there is nothing; empty for a part that not every run can have."""
    of_pictures: bool = False
    """Not to be missed where a run learns from texts alone."""


SECTIONS = (
    Section("verdict", "Verdict", build_verdict, ""),
    Section("results", "Results", build_results, "results.jsonl"),
    Section("curves", "Curves", build_curves, "two records in metrics.jsonl"),
    Section("speed", "Speed", build_speed, ""),
    Section("events", "Events", build_events, ""),
    Section("data", "Data", build_data_facts, "data.json"),
    Section("searches", "Searches", build_examples, "predictions of retrieval", of_pictures=True),
    Section("map", "Map", build_maps, "a map in predictions of retrieval", of_pictures=True),
    Section("answers", "Answers", build_answers, ""),
    Section("captions", "Captions", build_captioned, ""),
    Section("written", "Written", build_written, ""),
    Section("classes", "Classes", build_classes, "predictions of classification", of_pictures=True),
    Section("few_shot", "Few-shot", build_few_shot, ""),
    Section("compressed", "Compression", build_compressed, ""),
    Section("masks", "Masks", build_masks, ""),
    Section("looks", "What the model looks at", build_looks, ""),
    Section("settings", "Settings", build_settings, "config.yaml and env.json"),
    Section("reproduce", "Reproduce", build_recipe, "the command in env.json"),
)


def write_report(run: Run, reload: int = 0) -> Path:
    """Write report.html from what the run folder holds now; returns its path.

    Parts that are not there yet are named in one sentence and left out.

    Args:
        reload: seconds after which a browser is to read it again; 0: never.

    Raises:
        MmpretrainError: a file of the folder is damaged.
        ConfigError: there are curves to draw and matplotlib is not installed.
    """
    write_atomic(run.report, render(read_folder(run), reload))
    return run.report


def render(record: Record, reload: int = 0) -> str:
    """The page as text."""
    built = [(section, section.build(record)) for section in SECTIONS]
    page = environment().get_template("page.html")
    return page.render(
        record=record,
        sections=[(section, content) for section, content in built if content is not None],
        missing=[
            section
            for section, content in built
            if content is None and section.source and (record.has_pictures or not section.of_pictures)
        ],
        style=(TEMPLATES / "style.css").read_text(encoding="utf-8"),
        version=__version__,
        reload=reload,
        written=now().replace("T", " ")[:19] if reload else "",
    )


def environment() -> Environment:
    """Templates that escape everything: captions, names and configs come from anywhere."""
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
