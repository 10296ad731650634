"""Every way to adapt what a run starts from, as configs have it."""

ADAPTATIONS = [
    {"kind": "probe"},
    {"kind": "last_k", "blocks": 1},
    {"kind": "full", "rate": 0.1, "layer_decay": 0.7},
    {"kind": "gradual", "every": 2},
    {"kind": "lora", "rank": 2},
]
