"""Scores of captions against pycocoevalcap's own, words against Stanford's, and the captions that nobody wrote."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.data.captions import CaptionChoice
from mmpretrain.data.told import Told, references
from mmpretrain.evaluation import java_scores
from mmpretrain.evaluation.caption_baselines import most_frequent
from mmpretrain.evaluation.caption_figures import caption_figures, judge
from mmpretrain.evaluation.caption_scores import exact_matches, score
from mmpretrain.evaluation.caption_tokens import approximate, choose_kind, tokenize
from mmpretrain.evaluation.captioning import pictures
from mmpretrain.evaluation.nearest import nearest

JAVA = pytest.mark.skipif(shutil.which("java") is None, reason="there is no Java")
WORDS = st.lists(st.sampled_from(["red", "ball", "a", "big", "dog", "cat"]), min_size=1, max_size=7).map(" ".join)
SETS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4)), min_size=2, max_size=9)
ROOT = Path(__file__).parents[2]


def split_sets(sets: list[tuple[str, list[str]]]) -> tuple[list[str], list[list[str]]]:
    return [written for written, _ in sets], [several for _, several in sets]


@given(SETS)
@settings(max_examples=40, deadline=None)
def test_scores_are_those_of_the_original_scorers(sets: list[tuple[str, list[str]]]):
    written, several = split_sets(sets)
    own = score(written, several, exact_matches(written, several))
    found = {name: value[0] for name, value in own.statistic()(np.ones((1, len(sets)))).items()}
    right, given_ = dict(enumerate(several)), {row: [caption] for row, caption in enumerate(written)}
    bleu = Bleu(4).compute_score(right, given_, verbose=0)[0]
    expected = {f"Bleu_{order + 1}": value for order, value in enumerate(bleu)}
    expected |= {
        "CIDEr": Cider().compute_score(right, given_)[0],
        "ROUGE_L": Rouge().compute_score(right, given_)[0],
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


@given(SETS, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_bleu_of_a_resample_is_that_of_its_pictures_written_out(sets: list[tuple[str, list[str]]], seed: int):
    written, several = split_sets(sets)
    drawn = np.random.default_rng(seed).integers(0, len(sets), len(sets))
    weights_1N = np.bincount(drawn, minlength=len(sets))[None].astype(float)
    found = score(written, several, np.zeros(len(sets))).statistic()(weights_1N)
    right = {row: several[place] for row, place in enumerate(drawn)}
    bleu = Bleu(4).compute_score(right, {row: [written[place]] for row, place in enumerate(drawn)}, verbose=0)[0]
    assert [found[f"Bleu_{order}"][0] for order in (1, 2, 3, 4)] == pytest.approx(bleu)


def test_a_writer_of_references_is_above_the_baselines_and_they_are_paired():
    several = [[f"a {colour} {shape}"] for colour in ("red", "blue", "green") for shape in ("ball", "box", "dot")]
    said = {
        "written": [each[0] for each in several],
        "most_frequent": ["a red ball"] * 9,
        "nearest_neighbour": [each[0] for each in several[:5]] + ["a red ball"] * 4,
    }
    found = judge(said, several, "approx", []).metrics
    assert found["exact_match"].value == 1.0
    assert found["exact_match"].chance == found["exact_match_most_frequent"].value == pytest.approx(1 / 9)
    assert found["CIDEr_nearest_neighbour"].value < found["CIDEr"].value
    for name in ("CIDEr", "exact_match"):
        above = found[f"{name}_above_nearest_neighbour"]
        assert above.value == pytest.approx(found[name].value - found[f"{name}_nearest_neighbour"].value)
        assert 0 < above.low <= above.value <= above.high
    same = judge({**said, "nearest_neighbour": said["written"]}, several, "approx", []).metrics
    assert same["CIDEr_above_nearest_neighbour"].high == 0.0, "equal captions differ in no resample"


def test_document_frequencies_are_those_of_the_whole_split():
    several = [["a red ball"], ["a red box"], ["the blue dot"]]
    one = {"written": ["a red ball", "x", "x"], "most_frequent": ["x"] * 3}
    assert judge(one, several, "approx", []).scores["written"].cider_N[0] == pytest.approx(10 * 3 / 4)


def test_a_caption_matches_whatever_its_case_and_spaces():
    found = exact_matches(["A  red ball ", "red", "ß"], [["blue", "a Red ball"], ["redder"], ["SS"]])
    assert found.tolist() == [1.0, 0.0, 1.0]


# -- words ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A woman’s hat, isn't it?", "a woman 's hat is n't it"),
        ("Two men (one old) play T-ball; they're good!", "two men -lrb- one old -rrb- play t-ball they 're good"),
        ("  many\n lines\t", "many lines"),
        ("100% of $5.00 & more...", "100 % of $ 5.00 & more"),
        ("...", ""),
        ("", ""),
    ],
)
def test_words_are_told_apart_without_java(caption: str, words: str):
    assert approximate(caption) == words


@JAVA
def test_both_tokenizers_agree_on_the_captions_of_emoji():
    with tarfile.open(ROOT / "data_shards/emoji/fluent-train-00000.tar") as tar:
        texts = [tar.extractfile(m).read().decode() for m in tar if m.name.endswith(".txt")]  # type: ignore[union-attr]
    ours, theirs = tokenize(texts, "approx"), tokenize(texts, "ptb")
    differ = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    assert len(differ) <= len(texts) / 500, differ


@JAVA
def test_captions_keep_their_places_whatever_they_hold():
    captions = ["a  b\nc", "", "naïve café", "...", "“x” y\u2028z", ""]
    assert tokenize(captions, "ptb") == ["a b c", "", "naïve café", "", "x y z", ""]


@JAVA
def test_the_original_wrapper_gives_the_same_words(tmp_path: Path):
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = ["A dog's bone, isn't it?", "two (2) T-balls [big] - one {red}; 3:30 p.m."]
    theirs = PTBTokenizer().tokenize({row: [{"caption": caption}] for row, caption in enumerate(captions)})
    assert tokenize(captions, "ptb") == [theirs[row][0] for row in range(2)]


def test_without_java_words_are_approximate_and_the_treebank_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    assert choose_kind("best") == "approx"
    with pytest.raises(ConfigError, match="needs java on the PATH; use tokenizer=approx"):
        choose_kind("ptb")
    assert java_scores.reasons_against(["METEOR", "SPICE"]) == dict.fromkeys(
        ("METEOR", "SPICE"), "there is no java on the PATH"
    )


def test_a_java_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    broken = tmp_path / "java"
    broken.write_text("#!/bin/sh\necho no memory >&2\nexit 7\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MmpretrainError, match=r"Java could not tokenize .* tokenizer=approx"):
        tokenize(["a"], "ptb")
    assert java_scores.reasons_against(["METEOR"]) == {"METEOR": "java does not run: no memory"}
    said = {"written": ["a b", "c"], "most_frequent": ["c", "c"]}
    judged = judge(said, [["a b"], ["d"]], "approx", ["METEOR"])
    assert set(judged.failed) == {"METEOR"}
    assert "CIDEr" in judged.metrics


@JAVA
def test_spice_is_not_computed_without_its_models_and_downloads_nothing():
    assert "stanford-corenlp-3.6.0.jar is missing" in java_scores.reason("SPICE")


@JAVA
@pytest.mark.timeout(300)
def test_meteor_takes_captions_without_words():
    found = java_scores.compute("METEOR", ["a red ball", "", "a dog"], [["a red ball"], ["a cat"], ["dog", "the dog"]])
    assert found.parts_N[0] == pytest.approx(1.0)
    assert found.parts_N[1] == 0.0
    assert 0 < found.parts_N[2] < 1
    assert 0 < found.value < 1


# -- what stands beside -----------------------------------------------------------------------------------


def told(key: str, group: int, *captions: str) -> Told:
    return Told(
        key=key,
        caption=captions[0],
        captions=captions,
        text_groups=(0,) * len(captions),
        gallery="",
        image_group=group,
        label=-1,
        labels=(),
        answers=(),
        question_type="",
    )


def test_a_picture_is_asked_once_and_has_the_captions_of_all_its_samples():
    asked = pictures([told("a", 7, "one", "two"), told("b", 8, "three"), told("c", 7, "two", "four")])
    assert asked.rows == [0, 1]
    assert asked.references == [["one", "two", "four"], ["three"]]


def test_references_are_a_list_or_the_languages_that_a_run_reads():
    assert references("a", ["b", "a", ["c"]], []) == ("a", "b", "c")
    by_language = {"en": "a", "de": ["b", "c"]}
    assert references("a", by_language, CaptionChoice().languages) == ("a",)
    assert references("a", by_language, ["de"]) == ("a", "b", "c")


def test_of_equally_frequent_captions_the_first_in_the_alphabet_is_said():
    assert most_frequent(["b", "a", "c", "a", "b"]) == "a"


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_the_nearest_is_that_of_a_plain_search(queries: int, others: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    query_ND = torch.randint(0, 3, (queries, 3), generator=generator).float()
    among_MD = torch.randint(0, 3, (others, 3), generator=generator).float()
    distance_NM = (query_ND[:, None] - among_MD).square().sum(dim=2).numpy()
    assert nearest(query_ND, among_MD) == distance_NM.argmin(axis=1).tolist()


def test_the_nearest_does_not_hang_on_how_many_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch):
    query_ND, among_MD = torch.randint(0, 2, (20, 4)).float(), torch.randint(0, 2, (30, 4)).float()
    whole = nearest(query_ND, among_MD)
    monkeypatch.setattr("mmpretrain.evaluation.nearest.ROWS", 7)
    assert nearest(query_ND, among_MD) == whole


def test_figures_come_in_the_order_in_which_people_read_them():
    said = {"written": ["a b"] * 3, "most_frequent": ["c"] * 3}
    scores = judge(said, [["a b"], ["d"], ["e"]], "approx", []).scores
    assert next(iter(caption_figures(scores))) == "CIDEr"
