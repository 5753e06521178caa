"""A convolution and its batch-norm in quantization-aware training: the strategies of the MQBench paper (arXiv 2111.03759, section 3.2, Figure 3)."""

import torch
from torch import nn
from torch.nn import functional as F


def quantized(w):
    return torch.fake_quantize_per_tensor_affine(w, 0.01, 0, -128, 127)


class Fold(nn.Module):
    """Statistics as a batch-norm keeps them, and a convolution that each strategy folds them into in its own way."""

    def __init__(self, cin=4, cout=6):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin, 3, 3) * 0.3)
        self.bn = nn.BatchNorm2d(cout)
        nn.init.uniform_(self.bn.weight, 0.5, 1.5)
        nn.init.normal_(self.bn.bias)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.5, 2)

    def conv(self, x, w, b=None):
        return F.conv2d(x, w, b, padding=1)

    def running(self):
        """γ / σ and β - μ·γ / σ of the running statistics."""
        factor = self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)
        return factor, self.bn.bias - self.bn.running_mean * factor

    def batch(self, x):
        """Mean and standard deviation of the batch, from a convolution of their own."""
        y = self.conv(x, self.weight)
        return y.mean((0, 2, 3)), torch.sqrt(y.var((0, 2, 3), unbiased=False) + self.bn.eps)


class Unfolded(Fold):
    """-1"""

    def forward(self, x):
        return self.bn(self.conv(x, quantized(self.weight)))


class Merged(Fold):
    """0: once, before training."""

    def __init__(self):
        super().__init__()
        factor, bias = self.running()
        self.weight, self.bias = nn.Parameter((self.weight * factor.view(-1, 1, 1, 1)).detach()), nn.Parameter(bias.detach())
        del self.bn

    def forward(self, x):
        return self.conv(x, quantized(self.weight), self.bias)


class Running(Fold):
    """1: running statistics, γ and β are trained."""

    def forward(self, x):
        factor, bias = self.running()
        return self.conv(x, quantized(self.weight * factor.view(-1, 1, 1, 1)), bias)


class Batch(Running):
    """2: statistics of the batch, by a second convolution."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        mean, deviation = self.batch(x)
        factor = self.bn.weight / deviation
        return self.conv(x, quantized(self.weight * factor.view(-1, 1, 1, 1)), self.bn.bias - mean * factor)


class Corrected(Running):
    """3: running statistics in the weights, those of the batch behind them."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        mean, deviation = self.batch(x)
        factor, _ = self.running()
        y = self.conv(x, quantized(self.weight * factor.view(-1, 1, 1, 1)))
        ratio = torch.sqrt(self.bn.running_var + self.bn.eps) / deviation
        return y * ratio.view(1, -1, 1, 1) + (self.bn.bias - mean * self.bn.weight / deviation).view(1, -1, 1, 1)


class Divided(Fold):
    """4: the factor is divided out again, and the batch-norm stays."""

    def forward(self, x):
        factor, _ = self.running()
        y = self.conv(x, quantized(self.weight * factor.view(-1, 1, 1, 1)))
        return self.bn(y / factor.view(1, -1, 1, 1))


class Frozen(Unfolded):
    """-1, with statistics that stay as they are while the rest is trained."""

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self


class Standalone(Fold):
    """In front of the convolution, as in DenseNet and pre-activation ResNets."""

    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(4)
        self.first.running_mean.normal_()
        del self.bn

    def forward(self, x):
        return self.conv(F.relu(self.first(x)), quantized(self.weight))


STRATEGIES = {"-1": Unfolded, "0": Merged, "1": Running, "2": Batch, "3": Corrected, "4": Divided, "frozen": Frozen, "standalone": Standalone}


class Network(nn.Module):
    """Input and output quantized, two layers of a strategy in between."""

    def __init__(self, strategy):
        super().__init__()
        torch.manual_seed(11)
        self.stem, self.layer = nn.Conv2d(3, 4, 1), STRATEGIES[strategy]()

    def forward(self, x):
        x = torch.fake_quantize_per_tensor_affine(F.relu(self.stem(x)), 0.02, 0, 0, 255)
        return torch.fake_quantize_per_tensor_affine(F.relu(self.layer(x)), 0.05, 0, 0, 255)
