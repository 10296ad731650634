"""The page as a reader and a browser get it."""

import json
import re
import shutil
import sys
from html.parser import HTMLParser

import pytest

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.run import Run
from mmpretrain.report.page import SECTIONS, write_report
from tests.report.conftest import figure, result

EVERY_PART = (
    "config.yaml",
    "env.json",
    "model.json",
    "data.json",
    "metrics.jsonl",
    "results.jsonl",
    "complete",
    "predictions",
)


class Page(HTMLParser):
    """Tags, attributes and text of a page, each section's text by its anchor."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._section = self._tag = ""
        self.source = write_report(run).read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._tag = tag
        if tag == "section":
            self._section = str(dict(attrs)["id"])

    def handle_data(self, data: str) -> None:
        if self._tag != "style":
            # a no-break space is a space to whoever reads
            text = " ".join(data.split())
            self.texts[self._section] = f"{self.texts.get(self._section, '')} {text}".strip()

    def values(self, *names: str) -> list[tuple[str, str]]:
        return [
            (tag, str(value)) for tag, attributes in self.tags for name, value in attributes.items() if name in names
        ]


def rows(text: str, start: str, length: int = 90) -> str:
    assert start in text, text
    return text[text.index(start) :][:length]


def remove(run: Run, name: str) -> None:
    path = run.folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture(scope="module")
def page(untouched_run: Run) -> Page:
    return Page(untouched_run)


def test_the_page_is_one_file_that_loads_nothing(page: Page):
    for tag, value in page.values("src", "href", "srcset", "data", "poster", "action", "xlink:href"):
        assert value.startswith(("data:", "#")) or (tag == "a" and value == "https://example.org/ada"), (tag, value)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base", "form"}
    assert "@import" not in page.source
    assert set(re.findall(r"url\((.)", page.source)) <= {"#"}


def test_the_browser_is_told_to_load_nothing_either(page: Page):
    policy = next(a["content"] for tag, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_captions_descriptions_and_configs_stay_text(page: Page):
    assert "<script" not in page.source.lower()
    for section in ("data", "searches", "settings"):
        assert '<script>alert("caption")</script>' in page.texts[section]


def test_only_web_addresses_become_links(page: Page):
    assert "javascript:" not in page.source
    assert "Toys by Eve" in page.texts["data"]


def test_every_section_is_there_and_the_navigation_leads_to_each(page: Page):
    anchors = [attributes["id"] for tag, attributes in page.tags if tag == "section"]
    # this run writes, answers and finds no masks: its objectives are about pairs
    absent = {"written", "answers", "captions", "few_shot", "compressed", "masks", "map", "looks"}
    assert anchors == [section.name for section in SECTIONS if section.name not in absent]
    assert [value for tag, value in page.values("href") if tag == "a" and value[0] == "#"] == [f"#{a}" for a in anchors]


def test_ids_are_given_once_and_references_within_drawings_are_met(page: Page):
    ids = [value for _, value in page.values("id")]
    assert len(ids) == len(set(ids))
    used = {value[1:] for _, value in page.values("href") if value[0] == "#"}
    used |= set(re.findall(r"url\(#([^)]+)\)", page.source))
    assert used <= set(ids)


def test_the_headline_is_the_mean_of_both_directions_on_val_against_chance(page: Page):
    verdict = page.texts["verdict"]
    assert "On val, the match is among the first ten answers in 40.0 % of searches, 8.0 times what guessing" in verdict
    assert "over 400 queries: 95 % interval 36.0 to 44.0 %, chance 5.0 %" in verdict
    assert "unseen An artist never trained on. 20.0 %" in verdict


def test_the_verdict_says_what_the_run_took(page: Page):
    verdict = page.texts["verdict"]
    for fact in (
        "2 min",
        "410 samples/s",
        "1.2 % of the time without data",
        "2.5 M parameters",
        "4 of 4",
        "Abacus 9000",
    ):
        assert fact in verdict
    assert "2025-01-02" in verdict


def test_a_figure_that_may_be_chance_is_not_called_a_success(toy_run: Run):
    figure = {"value": 0.51, "low": 0.45, "high": 0.57, "chance": 0.5, "n": 200}
    line = {"dataset": "toys", "split": "val", "task": "zero_shot", "step": 4, "seed": 0, "metrics": {"acc1": figure}}
    toy_run.results.write_text(json.dumps(line) + "\n")
    assert "which cannot be told from guessing" in Page(toy_run).texts["verdict"]


def test_tables_show_the_newest_step_in_percent_with_interval_and_chance(page: Page):
    results = page.texts["results"]
    assert "R@10 44.4 % 40.0 to 48.8 % 5.0 % 8.9 × chance 200" in results
    assert "Evaluated at step 4" in results
    assert "Evaluated at step 2" not in results
    assert "accuracy 62.0 %" in results


def test_directions_are_named_query_first(page: Page):
    results = page.texts["results"]
    val = results[results.index("val Held-out concepts.") : results.index("unseen An artist")]
    assert "44.4 %" in rows(val, "image → text")
    assert "35.6 %" in rows(val, "text → image")


def test_ranks_are_places_and_not_percent(page: Page):
    assert "median rank 12.0 10.8 to 13.2 96.0 1/8.0 of chance" in page.texts["results"]


def test_there_is_a_curve_for_each_quantity_with_its_values_in_words(page: Page):
    labels = [str(a["aria-label"]) for tag, a in page.tags if tag == "svg" and "aria-label" in a]
    told = ("Loss", "Mean R@10", "Learning rate", "Logit scale", "Gradient norm", "Throughput", "Time spent waiting")
    assert [label for label in labels if label.startswith(told)] == labels
    assert len(labels) == len(told) + 1, "the loss, which falls to a quarter, also on a logarithmic axis"
    assert "val from 20.0\N{NO-BREAK SPACE}% at step 2 to 40.0\N{NO-BREAK SPACE}% at step 4" in labels[2]


def test_drawings_take_their_colours_from_the_page(page: Page):
    source = page.source
    assert "var(--series-1)" in source
    assert not re.search(r"#0[0-9]0[0-9]0[0-9]\b", source)


def test_losses_of_several_objectives_share_a_panel_and_gaps_are_left_out(toy_run: Run):
    lines = [json.loads(line) for line in toy_run.metrics.read_text().splitlines()]
    for line in lines:
        line["matching/loss"] = 0.5
    lines[1]["loss"] = float("nan")
    toy_run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = Page(toy_run)
    label = next(str(a["aria-label"]) for _, a in page.tags if str(a.get("aria-label")).startswith("Loss"))
    assert "total from 4 at step 1 to 1 at step 4; contrastive from 4" in label
    assert "matching from 0.5" in label


def test_data_shows_splits_counts_and_licences(page: Page):
    data = page.texts["data"]
    assert "train trained on 12,345 2 7.1 MB To learn from." in data
    assert "1 5 35.7 % 2 0 0.0 % 3 9 64.3 %" in data
    assert "Toys by Ada" in data


def test_charts_of_a_part_say_so(toy_run: Run, page: Page):
    assert "Counted over" not in page.texts["data"]
    data = json.loads((toy_run.folder / "data.json").read_text())
    (toy_run.folder / "data.json").write_text(json.dumps({**data, "counted": 5000}))
    assert "Counted over 5,000 samples drawn from the 12,345 trained on." in Page(toy_run).texts["data"]


def test_searches_mark_hits_and_misses_in_both_directions(page: Page):
    listed = [a["class"] for tag, a in page.tags if tag == "li" and a.get("class") in ("hit", "miss")]
    assert listed == ["hit"] + ["miss"] * 4 + ["miss"] * 5 + ["miss"] * 3 + ["hit", "miss"]
    searches = page.texts["searches"]
    assert searches.index("image → text") < searches.index("a lost one") < searches.index("text → image")
    assert "first right answer at place 42 of 200 in ada" in searches
    assert "2 searches picked for show, 1 with a right answer among the first 5" in searches


def test_the_confusion_map_counts_rows_as_true_classes(page: Page):
    titles = [str(a["title"]) for tag, a in page.tags if tag == "td" and "title" in a]
    assert [title.replace("\N{NO-BREAK SPACE}", " ") for title in titles][:2] == [
        "cubes named cubes: 6 of 8, 75.0 %",
        "cubes named balls: 2 of 8, 25.0 %",
    ]
    assert "cubes taken for balls: 2 of 8" in page.texts["classes"]


def test_the_commands_are_what_a_person_types(page: Page):
    text = page.texts["reproduce"]
    assert "git checkout abcdef0123 " in text
    assert "python -m mmpretrain pretrain configs/pretrain/toys.yaml" in text
    assert "python -m mmpretrain evaluate runs/toy --task retrieval --data toys:val" in text
    assert "python -m mmpretrain report runs/toy" in text
    assert "uncommitted changes" in text


@pytest.mark.parametrize("name", EVERY_PART)
def test_a_missing_part_leaves_a_page_without_it(toy_run: Run, name: str):
    remove(toy_run, name)
    page = Page(toy_run)
    assert "verdict" in page.texts
    assert "None" not in page.texts["verdict"]
    if name in ("data.json", "results.jsonl", "predictions"):
        assert "Not on this page, because the run folder does not hold it yet" in page.texts["verdict"]


def test_a_folder_with_nothing_but_a_config_gives_a_page(toy_run: Run):
    for name in EVERY_PART[1:]:
        remove(toy_run, name)
    page = Page(toy_run)
    assert list(page.texts) == ["", "verdict", "settings"]
    assert "Not evaluated yet." in page.texts["verdict"]


def test_an_unfinished_run_says_so(toy_run: Run):
    remove(toy_run, "complete")
    assert "The run is not finished" in Page(toy_run).texts["verdict"]


def test_a_second_report_replaces_the_first_and_is_equal(toy_run: Run):
    assert Page(toy_run).source == Page(toy_run).source


def test_a_damaged_file_is_named(toy_run: Run):
    (toy_run.folder / "data.json").write_text("{")
    with pytest.raises(MmpretrainError, match=r"data\.json: not valid JSON"):
        write_report(toy_run)


def test_without_matplotlib_the_remedy_is_told(toy_run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "mmpretrain.report.plots", raising=False)
    with pytest.raises(ConfigError, match=r"pip install -e \"\.\[eval\]\""):
        write_report(toy_run)


def test_a_run_from_texts_alone_is_judged_by_what_its_objectives_ask(toy_run: Run):
    metrics = {"next_sentence_accuracy": figure(0.7, chance=0.5), "causal_language_accuracy": figure(0.3, chance=0.1)}
    metrics |= {"causal_language_loss": {**figure(2.0, chance=4.0), "low": 1.9, "high": 2.1}}
    lines = [result("val", "held_out", step, metrics) for step in (2, 4)]
    toy_run.results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = json.loads((toy_run.folder / "data.json").read_text())
    examples = [{"key": "k1", "caption": "A passage.", "gallery": "", "image": ""}]
    (toy_run.folder / "data.json").write_text(json.dumps({**data, "pictures": False, "examples": examples}))
    shutil.rmtree(toy_run.predictions)
    page = Page(toy_run)
    verdict = page.texts["verdict"]
    assert "On val, 30.0 % of next words are foreseen, 3.0 times what guessing gives." in verdict
    assert "Perplexity 7.39; that of word frequencies alone is 54.6." in verdict
    assert "texts seen" in verdict
    assert "Not on this page" not in verdict
    assert "2.000 1.900 to 2.100 4.000" in rows(page.texts["results"], "causal language loss", 80)
    assert "Held out: causal language loss" in page.texts["curves"]
    assert '<blockquote dir="auto">A passage.' in page.source
