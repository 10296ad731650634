"""Write the initial weights of a model of open_clip: NAME or local-dir:FOLDER, and FILE.safetensors."""

import json
import sys

import open_clip
import torch
from safetensors.torch import save_file

name, file = sys.argv[1:]
torch.manual_seed(0)
model = open_clip.create_model(name, pretrained=None, load_weights=False)
save_file({key: value.contiguous() for key, value in model.state_dict().items()}, file)
print(json.dumps({"parameters": sum(each.numel() for each in model.parameters())}))
