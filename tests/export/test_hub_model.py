"""`mmpretrain export --to huggingface`: a folder that loads by itself, its card, and the way onto a hub."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.export.hub_model import HubModel
from mmpretrain.recipes.caption import caption
from mmpretrain.recipes.trained import load_trained
from tests.conftest import ConfigWriter, toy_picture
from tests.export.hub import Hub
from tests.export.runs import export, invoke, refusal, train

WORDS = {"kind": "wordpiece", "context_length": 12, "vocabulary": 100}
BOTH = {
    "data__tokenizer": WORDS,
    "objectives": [
        {"kind": "captioning", "words": "seen"},
        {"kind": "contrastive"},
        {"kind": "matching", "negatives_within": 4},
    ],
    "towers__fusion": {"layers": 1},
    "towers__decoder": {"layers": 1},
}
FIGURES = {"evaluation": [{"kind": "retrieval", "split": "val"}]}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """With a token that it takes, and without the transfer of chunks that only the real one has."""
    server = Hub("secret")
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # nothing leaves this machine
    yield server
    server.shutdown()


def test_a_folder_is_a_model_that_says_what_the_run_says(toy_config: ConfigWriter, tmp_path: Path) -> None:
    run, out = train(toy_config, **BOTH), tmp_path / "hub"
    report = json.loads(export(run, "--to", "huggingface", "--out", out, "--json"))
    assert {each["name"]: each["largest_difference"] for each in report["parts"]} == {
        "image": 0,
        "text": 0,
        "scale": 0,
        "tokens of captions that differ": 0,
    }
    assert report["left_out"] == ["matching"]
    model, trained = HubModel.from_pretrained(out), load_trained(run, "", Console(quiet=True))
    picture = tmp_path / "red.png"
    picture.write_bytes(toy_picture("red", "square", 1, 40))
    images = model.prepare([Image.open(picture)])
    with torch.no_grad():
        assert torch.equal(model.encode_image(images), trained.model.embed_images(images))
        texts = model.encode_text(*model.tokenize(["a red square"]))
        assert torch.equal(texts, trained.model.embed_texts(*trained.tokenizer(["a red square"])))
    caption(run, [picture], tmp_path / "captions.json", "greedy", {}, 1, Console(quiet=True))
    (wanted,) = json.loads((tmp_path / "captions.json").read_text())
    assert [re.sub(r"\s", "", each) for each in model.caption(images)] == [re.sub(r"\s", "", wanted["caption"])]
    assert str(tmp_path) not in (out / "config.json").read_text()


def test_the_card_states_data_licences_figures_with_intervals_and_what_it_took(
    toy_config: ConfigWriter, tmp_path: Path
) -> None:
    run, out = train(toy_config, **FIGURES), tmp_path / "hub"
    export(run, "--to", "huggingface", "--out", out)
    _, metadata, text = (out / "README.md").read_text().split("---\n", 2)
    (found,) = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    index = yaml.safe_load(metadata)["model-index"][0]["results"][0]
    assert {each["type"]: each["value"] for each in index["metrics"]}["t2i_R@1"] == found["metrics"]["t2i_R@1"]["value"]
    row = next(line for line in text.splitlines() if "R@1, text → image" in line)
    assert re.search(r"`shapes:val` .* \| [\d.]+\s% \| [\d.]+ to [\d.]+\s% \| [\d.]+\s% \| \d+ \|", row), row
    assert "Coloured shapes" in text
    assert "names no sources and no licences" in text
    assert re.search(r"\d+\.\d\d hours of training by 1 process .* at most \d+\.\d\d core hours", text)
    assert "## Intended use" in text
    assert "48 samples" in text


def test_a_student_goes_without_its_teacher_and_a_config_that_names_code_is_refused(
    toy_config: ConfigWriter, tmp_path: Path
) -> None:
    learned = {"kind": "distillation", "teacher": str(train(toy_config, "first")), "cache": str(tmp_path / "vectors")}
    export(train(toy_config, objectives=[learned]), "--to", "huggingface", "--out", tmp_path / "hub")
    assert str(tmp_path) not in (tmp_path / "hub" / "config.json").read_text()
    assert HubModel.from_pretrained(tmp_path / "hub").scale() == pytest.approx(1 / 0.07, rel=0.1)
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    config["objectives"] = [{"kind": "custom", "path": "evil.py:Evil"}]
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="custom"):
        HubModel.from_pretrained(tmp_path / "hub")


def test_a_captioner_without_a_common_space_says_so(toy_config: ConfigWriter, tmp_path: Path) -> None:
    objectives = {"objectives": [{"kind": "captioning"}], "towers__decoder": {"layers": 1}, "data__tokenizer": WORDS}
    export(train(toy_config, **objectives), "--to", "huggingface", "--out", tmp_path / "hub")
    model = HubModel.from_pretrained(tmp_path / "hub")
    images = model.prepare([Image.new("L", (50, 40))])
    assert len(model.caption(images)) == 1
    with pytest.raises(ConfigError, match="no space that pictures and texts share"):
        model.encode_image(images)


def test_a_push_brings_every_file_to_the_hub_with_the_token_of_the_environment(
    toy_config: ConfigWriter, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = train(toy_config), tmp_path / "hub"
    asked = (run, "--to", "huggingface", "--push", "someone/small", "--out")
    said = export(*asked, out)
    assert f"pushed: {hub.address}/someone/small/commit/" in said
    assert hub.created["visibility"] == "private"
    assert hub.files == {file.name: file.read_bytes() for file in out.iterdir()}
    assert "model.safetensors" in hub.files
    assert "# someone/small" in (out / "README.md").read_text()
    monkeypatch.setenv("HF_TOKEN", "wrong")
    said = refusal(MmpretrainError, *asked, tmp_path / "other")
    assert said.startswith("--push: someone/small: ")
    assert said.endswith("other stays as it is")
    assert (tmp_path / "other" / "model.safetensors").is_file()


def test_a_push_without_a_token_or_an_owner_is_refused_before_anything_is_done(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (tmp_path / "no run is needed", "--out", tmp_path / "hub", "--to")
    assert "names no owner" in refusal(ConfigError, *asked, "huggingface", "--push", "small")
    assert "goes with --to huggingface" in refusal(ConfigError, *asked, "open_clip", "--push", "someone/small")
    monkeypatch.delenv("HF_TOKEN")
    assert "set HF_TOKEN" in refusal(ConfigError, *asked, "huggingface", "--push", "someone/small")
    assert not hub.asked


def test_a_run_without_vectors_and_captions_is_refused_by_name(toy_config: ConfigWriter, tmp_path: Path) -> None:
    tower = {"kind": "timm", "name": "test_vit", "size": 32}
    run = train(toy_config, objectives=[{"kind": "masked_image"}], towers__image=tower)
    for to in ("huggingface", "onnx"):
        said = refusal(ConfigError, run, "--to", to, "--out", tmp_path / "hub")
        assert "learned masked_image; what is exported are vectors of pictures and texts" in said
    assert invoke(run, "--to", "huggingface").exit_code == 2
