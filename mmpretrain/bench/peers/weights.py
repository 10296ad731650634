"""Write the initial weights of a model of open_clip: NAME or local-dir:FOLDER, and FILE.safetensors."""

import json
import sys

import open_clip
import torch
from safetensors.torch import save_file

name, file = sys.argv[1:]
torch.manual_seed(0)
model = open_clip.create_model(name, pretrained=None, load_weights=False)
if hasattr(model, "text_decoder"):  # CoCa's, which is left as the memory was
    torch.nn.init.normal_(model.text_decoder.text_projection, std=model.text_decoder.width**-0.5)
save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
print(json.dumps({"parameters": sum(each.numel() for each in model.parameters())}))
