"""README.md of an export: what the model is, what it learned from, how well, and what it took; made offline."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mmpretrain import __version__

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that the card says."""

    name: str
    run: str
    step: int
    what: str
    has_features: bool
    has_captions: bool
    size: int
    context: int
    left_out: list[str]
    data: dict[str, Any]
    """name, title, description, samples, digest; sources, each with name, url, licence and attribution; others: names
    of further datasets; start: what the run began with."""
    tables: list[list[str]]
    """Rows: what was asked, figure, value, interval, chance, n; as a person reads them."""
    figures: list[dict[str, Any]]
    """The same for programs: task, dataset, split, metric, value."""
    remarks: list[str] = field(default_factory=list)
    limits: list[str]
    cost: str
    commands: list[str]
    packages: list[str]


def model_card(facts: Facts) -> ModelCard:
    """The card, with the metadata that a hub reads."""
    place = Environment(  # noqa: S701  # Markdown, which a hub cleans; nothing in it is code
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    text = place.get_template("model_card.md").render(version=__version__, **asdict(facts))
    return ModelCard(f"---\n{metadata(facts).to_yaml()}\n---\n\n{text}")


def metadata(facts: Facts) -> ModelCardData:
    """No licence: that of the weights is for their owner to say."""
    tags = ["mmpretrain", *(["image-text-retrieval"] if facts.has_features else [])]
    return ModelCardData(
        library_name="mmpretrain",
        pipeline_tag="zero-shot-image-classification" if facts.has_features else "image-to-text",
        tags=[*tags, *(["image-captioning"] if facts.has_captions else [])],
        model_name=facts.name,
        eval_results=[result(figure) for figure in facts.figures] or None,
    )


def result(figure: dict[str, Any]) -> EvalResult:
    return EvalResult(
        task_type=figure["task"].replace("_", "-"),
        dataset_type=figure["dataset"],
        dataset_name=figure["dataset"],
        dataset_split=figure["split"],
        metric_type=figure["metric"],
        metric_value=figure["value"],
    )
