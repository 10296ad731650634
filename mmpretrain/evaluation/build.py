"""All evaluators."""

from typing import Annotated, Any, get_args

from pydantic import Field

from mmpretrain.evaluation.captioning import CaptioningTask
from mmpretrain.evaluation.classification import ClassificationTask
from mmpretrain.evaluation.few_shot import FewShot
from mmpretrain.evaluation.held_out import HeldOut
from mmpretrain.evaluation.probe import ProbeTask
from mmpretrain.evaluation.question_answering import QuestionAnsweringTask
from mmpretrain.evaluation.retrieval import Retrieval
from mmpretrain.evaluation.segmentation import Segmentation
from mmpretrain.evaluation.zero_shot import ZeroShot

Learning = ProbeTask | FewShot
Heads = ClassificationTask | QuestionAnsweringTask | CaptioningTask | Segmentation
Evaluators = Retrieval | ZeroShot | HeldOut | Heads | Learning
EvaluatorSettings = Annotated[Evaluators, Field(discriminator="kind")]
"""The union of all evaluators; another one is another file and another name here."""


def tasks() -> dict[str, Any]:
    """Settings of each evaluator by what `--task` calls it."""
    return {each.kind: each for each in get_args(Evaluators)}
