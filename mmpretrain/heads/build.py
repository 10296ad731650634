"""All that can be learned: objectives, which need pairs alone, and heads, which need labels."""

from typing import Annotated

from pydantic import Field

from mmpretrain.heads.answer_writing import AnswerWriting
from mmpretrain.heads.classification import Classification
from mmpretrain.heads.question_answering import QuestionAnswering
from mmpretrain.heads.segmentation import Segmentation
from mmpretrain.objectives.combine import Images, Pairs, Texts, Together
from mmpretrain.objectives.custom import Custom

Heads = Classification | QuestionAnswering | AnswerWriting | Segmentation
LearnerSettings = Annotated[Pairs | Texts | Images | Together | Custom | Heads, Field(discriminator="kind")]
"""The union of all objectives and heads; another one is another file and another name here or in combine."""
