"""Small models of open_clip: made by open_clip, with weights that tell pictures and texts apart, saved by open_clip."""

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip import factory
from open_clip.push_to_hf_hub import save_config_for_hf
from safetensors.torch import save_file

TEXT = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
VIT = {"image_size": 48, "layers": 2, "width": 16, "head_width": 8, "patch_size": 16}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
MODELS: dict[str, dict[str, Any]] = {
    "vit": {"embed_dim": 12, "vision_cfg": VIT, "text_cfg": TEXT},
    "vit, quick_gelu": {"embed_dim": 12, "quick_gelu": True, "vision_cfg": VIT, "text_cfg": TEXT},
    "vit, average, wider": {
        "embed_dim": 12,
        "vision_cfg": {
            **VIT,
            "mlp_ratio": 3.0,
            "pool_type": "avg",
            "no_ln_pre": True,
            "final_ln_after_pool": True,
            "act_kwargs": {"approximate": "tanh"},
        },
        "text_cfg": {**TEXT, "mlp_ratio": 2.5, "norm_kwargs": {"eps": 1e-5}},
    },
    "vit, attentional pool": {
        "embed_dim": 12,
        "vision_cfg": {**VIT, "attentional_pool": True, "attn_pooler_queries": 4, "attn_pooler_heads": 2},
        "text_cfg": TEXT,
    },
    "resnet": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
        "text_cfg": TEXT,
    },
    "timm inside, custom text": {
        "embed_dim": 12,
        "custom_text": True,
        "vision_cfg": {"timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "linear", "image_size": 160},
        "text_cfg": TEXT,
    },
    "timm's convolutions, sigmoid": {
        "embed_dim": 12,
        "init_logit_bias": -10,
        "vision_cfg": {"timm_model_name": "test_resnet", "timm_pool": "", "timm_proj": "linear", "image_size": 64},
        "text_cfg": TEXT,
    },
}


def make(config: dict[str, Any], preprocess: dict[str, Any] | None = None) -> Any:
    """By open_clip's own factory, in evaluation mode."""
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(factory._MODEL_CONFIGS, "tiny", config)
        model = open_clip.create_model("tiny", force_preprocess_cfg=preprocess or {})
    for name, parameter in model.named_parameters():  # projections of fresh models say the same of everything
        if not name.startswith("logit_"):
            wide = parameter.ndim > 1 and "embedding" not in name
            spread = 1.5 * parameter[0].numel() ** -0.5 if wide else 0.3
            parameter.data = (0 if wide else parameter.data) + spread * torch.randn_like(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            torch.nn.init.normal_(buffer, std=0.1)
        if name.endswith("running_var"):
            torch.nn.init.uniform_(buffer, 0.1, 0.3)
    return model.eval()


def save_folder(folder: Path, model: Any, config: dict[str, Any]) -> Path:
    """As its `save_for_hf` does, but for tokenizers, of which CLIP's has no files."""
    folder.mkdir()
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    save_config_for_hf(model, folder / "open_clip_config.json", model_config=config)
    return folder


def save_epoch(file: Path, model: Any) -> Path:
    """As its trainer does after an epoch of several ranks, optimizer included."""
    optimizer = torch.optim.AdamW(model.parameters())
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, "name": "tiny", "state_dict": state, "optimizer": optimizer.state_dict()}, file)
    return file
