"""A few elements of a PyTorch weight are what is at those places of the whole weight, however it lies in the archive."""

import pytest
import torch

from qlint.api import load
from qlint.lint.weights import weights


class Net(torch.nn.Module):
    def __init__(self, layout):
        super().__init__()
        self.conv = torch.nn.Conv2d(6, 40, 3).to(memory_format=layout)

    def forward(self, x):
        return self.conv(x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["contiguous", "channels last"])
def test_parts_of_a_weight(tmp_path, layout):
    net = Net(layout).eval()
    path = tmp_path / "net.pt"
    torch.jit.trace(net, torch.rand(1, 6, 8, 8), check_trace=False).save(str(path))
    (weight,) = weights(load(path))
    whole = net.conv.weight.detach().flatten().tolist()
    for start, count in ((0, 32), (77, 100), (len(whole) - 3, 3)):
        assert list(weight.data.part(start, count)) == whole[start : start + count]
