"""Numbers as a person reads them."""

import pytest

from mmpretrain.report import wording
from mmpretrain.report.data_facts import BINS, LARGEST, bin_lengths, largest
from mmpretrain.report.results import bar_scale


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.25, "8.2 s"), (75, "1 min 15 s"), (59.7, "1 min"), (3725, "1 h 2 min"), (172800, "2 d")]
)
def test_durations_have_two_units_at_most(seconds: float, text: str):
    assert plain(wording.duration(seconds)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1e-3, "1e-3"), (2.5e-4, "2.5e-4"), (0.5, "0.5"), (12345.6, "12,346"), (3.2e8, "3.2e+8")],
)
def test_plain_numbers_have_about_three_digits(value: float, text: str):
    assert wording.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(12, "12"), (98304, "98.3 k"), (999_800, "1000 k"), (6_098_305, "6.1 M")])
def test_large_counts_are_shortened(value: float, text: str):
    assert plain(wording.short_count(value)) == text


def test_fewer_is_better_for_ranks_and_more_for_fractions():
    assert wording.against_chance("R@10", {"value": 0.4, "chance": 0.05}) == "8.0 × chance"
    assert wording.against_chance("median_rank", {"value": 8.0, "chance": 96.0}) == "1/12 of chance"
    assert wording.against_chance("median_rank", {"value": 96.0, "chance": 48.0}) == "2.0 × chance"
    assert wording.against_chance("median_rank", {"value": 95.0, "chance": 96.0}) == "1.0 × chance"
    assert wording.against_chance("R@10", {"value": 0.04, "chance": 0.05}) == "0.80 × chance"


@pytest.mark.parametrize(
    ("written", "shown"), [("for training", "For training."), ("Kept back!", "Kept back!"), ("", "")]
)
def test_remarks_of_a_card_become_sentences(written: str, shown: str):
    assert wording.sentence(written) == shown


def test_only_the_two_directions_are_taken_off_a_name():
    assert wording.split_direction("t2i_R@10") == ("t2i", "R@10")
    assert wording.split_direction("mean_per_class_recall") == ("", "mean_per_class_recall")


def test_bars_share_the_shortest_round_scale_that_holds_them():
    assert bar_scale([0.02, 0.3]) == 0.5
    assert bar_scale([]) == 1.0


def test_long_captions_are_binned_and_no_caption_is_lost():
    counts = {str(length): length for length in range(3, 200)}
    binned = bin_lengths(counts)
    assert len(binned) <= BINS
    assert sum(binned.values()) == sum(counts.values())
    assert next(iter(binned)).startswith("3–")


def test_many_classes_are_summed_up():
    counts = {f"class {number}": number for number in range(LARGEST + 5)}
    shown = largest(counts)
    assert len(shown) == LARGEST + 1
    assert shown["5 others"] == 0 + 1 + 2 + 3 + 4


def test_losses_are_in_nats_and_not_compared_with_chance():
    loss = {"value": 3.21, "low": 3.1, "high": 3.3, "chance": 6.0}
    assert wording.figure_text("causal_language_loss", 3.21) == "3.210"
    assert wording.interval_text("causal_language_loss", loss) == "3.100 to 3.300"
    assert wording.against_chance("causal_language_loss", loss) == ""


def test_an_objective_that_nobody_put_into_words_goes_by_its_name():
    assert wording.answered("causal_language") == "of next words are foreseen"
    assert wording.answered("guess_the_colour") == "of the answers of guess the colour are right"
