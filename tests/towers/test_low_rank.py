import torch
from torch import nn

from mmpretrain.towers.low_rank import add_low_rank, merged

RANK, SCALE = 2, 0.5


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Conv2d(3, 6, 3)
        self.thin = nn.Conv2d(6, 6, 3, groups=6)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, 4)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        x_BND = self.thin(self.kernel(images_BCHW)).flatten(2).transpose(1, 2)
        return self.head(self.attention(x_BND, x_BND, x_BND)[0].mean(dim=1))


def adapted(toy: Toy) -> list[str]:
    names = [name for name, _ in toy.named_parameters()]
    toy.requires_grad_(False)
    return add_low_rank(toy, names, RANK, SCALE)


def test_a_low_rank_change_begins_at_nothing_and_learns_alone():
    toy, images_BCHW = Toy(), torch.randn(2, 3, 8, 8)
    before = toy(images_BCHW)
    found = adapted(toy)
    torch.testing.assert_close(toy(images_BCHW), before)
    assert sorted(name for name, p in toy.named_parameters() if p.requires_grad) == sorted(found)
    # dense kernels, attention and linear layers; no biases, no kernel of one channel
    owners = {name.split(".parametrizations.")[0] for name in found}
    assert owners == {"kernel", "attention", "attention.out_proj", "head"}
    toy(images_BCHW).sum().backward()
    assert all(toy.get_parameter(name).grad is not None for name in found)


def test_merged_weights_do_what_the_changed_ones_did():
    toy, images_BCHW = Toy().eval(), torch.randn(2, 3, 8, 8)
    for name in adapted(toy):
        nn.init.normal_(toy.get_parameter(name))
    plain = Toy().eval()
    plain.load_state_dict(merged(dict(toy.state_dict()), SCALE))
    torch.testing.assert_close(plain(images_BCHW), toy(images_BCHW), atol=1e-4, rtol=1e-4)
