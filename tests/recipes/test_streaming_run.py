import io

from rich.console import Console

from mmpretrain.core.files import read_json_lines
from mmpretrain.recipes.pretrain import pretrain
from mmpretrain.report.page import write_report
from tests.conftest import ConfigWriter


def test_a_run_on_a_stream_trains_reports_and_says_what_it_gives_up(toy_config: ConfigWriter):
    said = io.StringIO()
    config = toy_config(data__order="streaming", data__tokenizer={"kind": "clip", "context_length": 16})
    place = pretrain(config, [], "auto", Console(file=said, width=500))
    assert [record["step"] for record in read_json_lines(place.metrics)] == [2, 4, 6]
    assert said.getvalue().count("streaming gives up the exact order") == 1
    assert "Coloured shapes" in write_report(place).read_text()
