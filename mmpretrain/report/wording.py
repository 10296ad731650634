"""Numbers and names as a person reads them: percent, counts, durations, directions."""

import math
import re
from typing import Any

DIRECTIONS = {"i2t": "image → text", "t2i": "text → image"}
TASKS = {
    "question_answering": "Visual question answering",
    "classification": "Classification",
    "segmentation": "Segmentation",
    "captioning": "Captioning",
    "retrieval": "Retrieval",
    "zero_shot": "Zero-shot classification",
    "probe": "Linear probe",
    "few_shot": "Few-shot classification",
    "held_out": "What the objectives ask",
}
"""In the order in which a reader wants to know of them."""
METHODS = {
    "probe": "logistic regression",
    "gradcam": "Grad-CAM",
    "hires_cam": "HiResCAM",
    "layer_cam": "Layer-CAM",
    "rollout": "attention rollout",
    "gradient_attention": "gradient-weighted attention",
    "occlusion": "occlusion",
    "rise": "RISE",
    "random": "random order",
    "centre": "from the centre",
    "prototypes": "prototypes",
    "tip_adapter": "Tip-Adapter",
    "zero_shot": "zero-shot",
}
WRITERS = {
    "most_frequent": "the most frequent caption",
    "nearest_neighbour": "the nearest picture’s caption",
    "question_only": "an answer without a look",
}
NAMES = {
    "median_rank": "median rank",
    "acc1": "accuracy",
    "acc5": "right class among the first 5",
    "mean_per_class_recall": "mean recall per class",
    "mIoU": "mean IoU",
    "foreground_IoU": "IoU of the foreground, mean over pictures",
    "pixel_accuracy": "right pixels",
    "otsu_mIoU": "mean IoU of Otsu’s threshold",
    "precision_macro": "precision, mean of classes",
    "recall_macro": "recall, mean of classes named or there",
    "f1_macro": "F1, mean of classes",
    "f1_micro": "F1 over all rows and classes",
    "ece": "calibration error",
    "mAP": "mean average precision",
    "exact_match": "exact matches",
    "zero_shot_acc1": "zero-shot, by texts alone",
    "vqa_acc": "accuracy (VQA)",
    "question_only_acc": "accuracy without a look",
    "Bleu_1": "BLEU-1",
    "Bleu_2": "BLEU-2",
    "Bleu_3": "BLEU-3",
    "Bleu_4": "BLEU-4",
    "ROUGE_L": "ROUGE-L",
}
ANSWERED = {
    "masked_language": "of hidden words are found",
    "image_masked_language": "of hidden words are found beside their picture",
    "causal_language": "of next words are foreseen",
    "captioning": "of the words of captions are foreseen",
    "next_sentence": "of passages are rightly told to follow or not",
    "matching": "of texts are rightly told to belong to their picture or not",
}
"""What the accuracy of an objective is the share of."""
WORDS = ("masked_language", "image_masked_language", "causal_language", "captioning")
"""Objectives whose loss is that of words, and its exponential a perplexity."""
SPACE = "\N{NO-BREAK SPACE}"


def percent(fraction: float, digits: int = 1) -> str:
    """0.413 as `41.3 %`."""
    return f"{100 * fraction:.{digits}f}{SPACE}%"


def count(number: float) -> str:
    """12345 as `12,345`."""
    return f"{number:,.0f}"


def short_count(number: float) -> str:
    """12345678 as `12.3 M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            amount = number / size
            return f"{amount:.3g}{SPACE}{unit}" if amount < 999.5 else f"{amount:.0f}{SPACE}{unit}"
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes as `7.1 MB`."""
    return f"{short_count(number)}B" if number >= 1000 else f"{number:.0f}{SPACE}B"


def duration(seconds: float) -> str:
    """3725 as `1 h 2 min`, 75 as `1 min 15 s`, 8.25 as `8.2 s`."""
    if seconds < 10:
        return f"{seconds:.1f}{SPACE}s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next(place for place, (amount, _) in enumerate(parts) if amount)
    return " ".join(f"{amount}{SPACE}{unit}" for amount, unit in parts[first : first + 2] if amount)


def milliseconds(seconds: float) -> str:
    """0.0312 as `31.2 ms`, 2.5 as `2.5 s`."""
    return duration(seconds) if seconds >= 1 else f"{1000 * seconds:.3g}{SPACE}ms"


def number(value: float) -> str:
    """A plain number with about three digits, thousands kept whole."""
    if not math.isfinite(value):
        return "not finite"
    if value and (abs(value) < 1e-2 or abs(value) >= 1e7):
        return re.sub(r"\.?0*e([+-])0*(\d)", r"e\1\2", f"{value:.2e}")
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def answered(objective: str) -> str:
    """What an objective's accuracy is the share of; one without words of its own by its name."""
    return ANSWERED.get(objective, f"of the answers of {objective.replace('_', ' ')} are right")


def is_rank(metric: str) -> bool:
    """Ranks count places, and fewer are better."""
    return metric.endswith("_rank")


def is_loss(metric: str) -> bool:
    """Losses are in nats, and less is better."""
    return metric == "loss" or metric.endswith("_loss")


def is_score(metric: str) -> bool:
    """CIDEr counts in points, of which there may be ten."""
    return metric.startswith("CIDEr")


def is_difference(metric: str) -> bool:
    """Between a run and something else: above 0 the run is better."""
    return "_above_" in metric


def is_share(metric: str) -> bool:
    """Everything but ranks, losses and points is a fraction."""
    return not (is_rank(metric) or is_loss(metric) or is_score(metric))


def lower_is_better(metric: str) -> bool:
    """Ranks, losses, errors of calibration, and scores that are left where pixels are removed."""
    return is_rank(metric) or is_loss(metric) or metric.endswith(("ece", "_deletion"))


def figure_text(metric: str, value: float) -> str:
    """A metric's value in its own unit."""
    sign = "+" if is_difference(metric) and value > 0 else ""
    if is_loss(metric) or is_score(metric):
        return f"{sign}{value:.3f}"
    return f"{value:,.1f}" if is_rank(metric) else f"{sign}{percent(value)}"


def interval_text(metric: str, figure: dict[str, Any]) -> str:
    """The 95 % interval in the metric's own unit, the unit once."""
    if not is_share(metric):
        return f"{figure_text(metric, figure['low'])} to {figure_text(metric, figure['high'])}"
    return f"{100 * figure['low']:.1f} to {percent(figure['high'])}"


def times(ratio: float) -> str:
    """A multiple: one decimal while it is small, whole when it is large."""
    if ratio < 0.95:
        return f"{ratio:.2f}"
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:,.0f}"


def against_chance(metric: str, figure: dict[str, Any]) -> str:
    """`8.7 × chance`, for ranks `1/12 of chance`; empty where chance says nothing, and for losses, which have no zero
    that means anything.
    """
    value, chance = figure["value"], figure["chance"]
    if not chance or is_loss(metric) or is_difference(metric):
        return ""
    ratio = value / chance
    return f"1/{times(1 / ratio)} of chance" if is_rank(metric) and 0 < ratio < 0.95 else f"{times(ratio)} × chance"


def split_direction(metric: str) -> tuple[str, str]:
    """`i2t_R@10` as (`i2t`, `R@10`); a metric without direction as (``, metric)."""
    head, _, tail = metric.partition("_")
    return (head, tail) if head in DIRECTIONS and tail else ("", metric)


def metric_name(metric: str) -> str:
    """What a table calls a metric that has lost its direction."""
    if metric.startswith("any_hit@"):
        return f"any right answer among the first {metric.removeprefix('any_hit@')}"
    if metric.startswith("found_share@"):
        return f"share of right answers among the first {metric.removeprefix('found_share@')}"
    if metric.endswith("_rerank"):
        return f"{metric.removesuffix('_rerank')}, the best judged again"
    for writer, said in WRITERS.items():
        if metric.endswith(f"_above_{writer}"):
            return f"{metric_name(metric.removesuffix(f'_above_{writer}'))} above {said}"
        if metric.endswith(f"_{writer}"):
            return f"{metric_name(metric.removesuffix(f'_{writer}'))} of {said}"
    if metric.startswith("vqa_acc_"):
        return f"accuracy, {metric.removeprefix('vqa_acc_')}"
    if found := re.fullmatch(r"(\w+)_k(\d+)_acc1", metric):
        return f"{METHODS.get(found[1], found[1])}, {found[2]} a class"
    return NAMES.get(metric, metric.replace("_", " "))


def sentence(text: str) -> str:
    """A remark of a card as a sentence, whether or not its author wrote one."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text[-1] in ".!?…。" else ".")
