"""An open_clip model teaches with its own resolution, normalisation and tokens; nothing of it is unpickled."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
import webdataset
from open_clip import factory
from PIL import Image
from rich.console import Console
from safetensors.torch import save_file

from mmpretrain.core.errors import ConfigError, MmpretrainError
from mmpretrain.core.files import read_json_lines
from mmpretrain.core.weights import load_tensors
from mmpretrain.objectives.distillation import width_of
from mmpretrain.recipes.pretrain import pretrain
from tests.conftest import ConfigWriter

QUIET = Console(quiet=True)
CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 48, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture(scope="module")
def model() -> open_clip.CLIP:
    torch.manual_seed(0)
    built = open_clip.CLIP(**CONFIG)
    for parameter in built.parameters():  # projections of random models say the same of everything
        torch.nn.init.normal_(parameter, std=0.3)
    return built.eval()


@pytest.fixture
def folder(tmp_path: Path, model: open_clip.CLIP) -> Path:
    """The layout of open_clip's hub."""
    place = tmp_path / "hub"
    place.mkdir()
    save_file(model.state_dict(), place / "open_clip_model.safetensors")
    (place / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}))
    return place


@pytest.fixture
def architecture(monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that open_clip knows for the length of a test."""
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", CONFIG)
    return "open_clip:tiny"


@pytest.fixture
def learn(toy_config: ConfigWriter, tmp_path: Path) -> Callable[..., list[float]]:
    """Losses of a student."""

    def run(name: str, **distillation: object) -> list[float]:
        objective = {"kind": "distillation", "cache": str(tmp_path / "cache"), "teacher_scale": 20.0, **distillation}
        place = pretrain(toy_config(name, objectives=[objective]), [], "never", QUIET)
        return [line["loss"] for line in read_json_lines(place.metrics)]

    return run


def cached(tmp_path: Path) -> dict[str, torch.Tensor]:
    (file,) = (tmp_path / "cache").iterdir()
    return load_tensors(file)


def embedded(model: open_clip.CLIP, preprocess: Callable, shapes: Path) -> dict[str, torch.Tensor]:
    """What open_clip's own functions say of each training sample, read by webdataset."""
    samples = [
        s for part in sorted(shapes.glob("train-*.tar")) for s in webdataset.WebDataset(str(part), shardshuffle=False)
    ]
    pixels = torch.stack([preprocess(Image.open(io.BytesIO(sample["png"]))) for sample in samples])
    tokens = open_clip.SimpleTokenizer(context_length=20)([sample["txt"].decode() for sample in samples])
    with torch.no_grad():
        found = {"image_NE": model.encode_image(pixels), "text_NE": model.encode_text(tokens)}
    return {name: torch.nn.functional.normalize(rows, dim=-1) for name, rows in found.items()}


def test_a_folder_of_the_hubs_layout_teaches_as_open_clip_looks_at_it(
    learn: Callable, folder: Path, model: open_clip.CLIP, shapes: Path, tmp_path: Path
) -> None:
    losses = learn("student", teacher=f"local-dir:{folder}")
    assert losses[-1] < losses[0]
    _, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert "0.5" in str(preprocess)
    expected = embedded(model, preprocess, shapes)
    found = cached(tmp_path)
    for name, rows in expected.items():
        torch.testing.assert_close(found[name], rows, rtol=1e-4, atol=1e-5)
        assert rows.std(dim=0).min() > 1e-3, "it tells samples apart"


def test_an_architecture_with_a_weights_file_teaches_with_clips_normalisation(
    learn: Callable, architecture: str, model: open_clip.CLIP, shapes: Path, tmp_path: Path
) -> None:
    torch.save({"epoch": 3, "name": "tiny", "state_dict": model.state_dict()}, tmp_path / "epoch_3.pt")
    learn("student", teacher=architecture, weights=str(tmp_path / "epoch_3.pt"), embeddings=1.0)
    expected = embedded(model, open_clip.image_transform(48, is_train=False), shapes)
    for name, rows in cached(tmp_path).items():
        torch.testing.assert_close(rows, expected[name], rtol=1e-4, atol=1e-5)
    assert width_of(architecture) == 12


def test_vectors_are_kept_until_weights_or_preprocessing_are_others(
    learn: Callable, folder: Path, tmp_path: Path, model: open_clip.CLIP
) -> None:
    def files() -> dict[str, int]:
        return {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache").iterdir()}

    learn("first", teacher=f"local-dir:{folder}")
    first = files()
    learn("again", teacher=f"local-dir:{folder}")
    assert files() == first
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    learn("second", teacher=f"local-dir:{folder}")
    state = {name: tensor + 0.1 for name, tensor in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    learn("third", teacher=f"local-dir:{folder}")
    assert len(files()) == 3
    assert files().items() >= first.items()


class Evil:
    def __reduce__(self) -> tuple:
        return print, ("unpickled",)


def test_weights_that_would_run_code_are_refused_and_not_run(
    learn: Callable, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "open_clip_model.safetensors").unlink()
    torch.save({"state_dict": {"logit_scale": torch.ones(1)}, "hook": Evil()}, folder / "open_clip_pytorch_model.bin")
    with pytest.raises(MmpretrainError, match="not a file of plain tensors"):
        learn("student", teacher=f"local-dir:{folder}")
    assert "unpickled" not in capsys.readouterr().out


REFUSED: list[tuple[dict, str]] = [
    ({"teacher": "open_clip:ViT-B-32"}, r"weights: open_clip:ViT-B-32 alone has random ones; name a file"),
    ({"teacher": "runs/a", "weights": "b.pt"}, r"weights: runs/a has its own; leave them out"),
    ({"teacher": "open_clip:ViT-B-33", "weights": "b.pt"}, r"open_clip has no 'ViT-B-33'; did you mean 'ViT-B-32'"),
    ({"teacher": "open_clip:ViT-B-32", "weights": "b.pt"}, r"there is no file b\.pt"),
    ({"teacher": "local-dir:nowhere"}, r"open_clip_config\.json cannot be read"),
]


@pytest.mark.parametrize(("chosen", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_teachers_that_there_are_not_are_named(learn: Callable, chosen: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        learn("student", **chosen)


def test_folders_that_do_not_fit_together_are_named(learn: Callable, folder: Path) -> None:
    other = {**CONFIG, "embed_dim": 8}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": other}))
    with pytest.raises(ConfigError, match=r"open_clip cannot load local-dir:.*size mismatch"):
        learn("student", teacher=f"local-dir:{folder}")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": {}}))
    with pytest.raises(ConfigError, match="has no embed_dim"):
        learn("student", teacher=f"local-dir:{folder}")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"has none of open_clip_model\.safetensors"):
        learn("student", teacher=f"local-dir:{folder}")
