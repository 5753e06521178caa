"""Quantizers as the papers write them, on a small residual network, trained for a few steps and saved each way.

Names of parameters are neutral. `renamed` gives the classes any name: a neutral one, so that only what is computed tells the
algorithms apart, or one that libraries use.
"""

from __future__ import annotations

import contextlib
import copy
import io
import math
import warnings

import torch
from torch import nn
from torch.nn import functional as F

warnings.filterwarnings("ignore")
torch.set_num_threads(1)
IMAGE = (3, 8, 8)


def straight(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`y` forward, the gradient of `x` backward (Bengio et al., arXiv 1308.3432)."""
    return (y - x).detach() + x


class Quantizer(nn.Module):
    """On a weight (`bits` codes around zero), or on an input (codes from zero on)."""

    def __init__(self, of: str, bits: int = 4) -> None:
        super().__init__()
        self.of, self.bits = of, bits
        self.low, self.high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if of == "weight" else (0, 2**bits - 1)
        self.start()

    def start(self) -> None:
        pass


class Lsq(Quantizer):
    """Esser et al., arXiv 1902.08153, equations 1 to 5: the step is learned, its gradient scaled."""

    def start(self) -> None:
        self.p = nn.Parameter(torch.tensor((0.05 if self.of == "weight" else 0.2) * 2.0 ** (4 - self.bits)))

    def forward(self, x):
        g = 1.0 / math.sqrt(x.numel() * self.high)
        s = straight(self.p, self.p * g)
        x = (x / s).clamp(self.low, self.high)
        return straight(x.round(), x) * s


class LsqOperator(Lsq):
    """The same by PyTorch's operator, which MQBench's LearnableFakeQuantize calls."""

    def start(self) -> None:
        super().start()
        self.p = nn.Parameter(self.p.detach().reshape(1))
        self.z = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return torch._fake_quantize_learnable_per_tensor_affine(x, self.p, self.z, self.low, self.high, 0.01)


class LsqPlus(Quantizer):
    """Bhalgat et al., arXiv 2004.09576, equations 5 and 6: an offset of activations is learned too, and need not be a multiple of the step."""

    def start(self) -> None:
        self.p = nn.Parameter(torch.tensor((0.05 if self.of == "weight" else 0.2) * 2.0 ** (4 - self.bits)))
        if self.of != "weight":
            self.q = nn.Parameter(torch.tensor(-0.113))

    def forward(self, x):
        g = 1.0 / math.sqrt(x.numel() * self.high)
        s = straight(self.p, self.p * g)
        if self.of == "weight":
            x = (x / s).clamp(self.low, self.high)
            return straight(x.round(), x) * s
        o = straight(self.q, self.q * g)
        x = ((x - o) / s).clamp(self.low, self.high)
        return straight(x.round(), x) * s + o


class Pact(Quantizer):
    """Choi et al., arXiv 1805.06085, equations 1 and 2; weights by DoReFa's scheme there, here by their largest magnitude."""

    def start(self) -> None:
        if self.of != "weight":
            self.p = nn.Parameter(torch.tensor(4.0))

    def forward(self, x):
        if self.of == "weight":
            s = x.detach().abs().max() / self.high
            return straight((x / s).round().clamp(self.low, self.high) * s, x)
        y = 0.5 * (x.abs() - (x - self.p).abs() + self.p)
        s = self.p / self.high
        return straight((y / s).round() * s, y)


class DoReFa(Quantizer):
    """Zhou et al., arXiv 1606.06160, equations 9 and 10: weights through tanh into [0, 1] and back, activations clipped to [0, 1]."""

    def forward(self, x):
        n = 2**self.bits - 1
        if self.of == "weight":
            t = torch.tanh(x)
            x = t / (2 * t.abs().max()) + 0.5
            return 2 * straight((x * n).round() / n, x) - 1
        x = x.clamp(0, 1)
        return straight((x * n).round() / n, x)


class Qil(Quantizer):
    """Jung et al., arXiv 1808.05779, equations 3 to 5: the interval [c - d, c + d] is stretched to [0, 1], what lies below is pruned."""

    def start(self) -> None:
        self.c, self.d = nn.Parameter(torch.tensor(0.12)), nn.Parameter(torch.tensor(0.1))
        if self.of == "weight":
            self.g = nn.Parameter(torch.tensor(1.1))

    def forward(self, x):
        a, b = 0.5 / self.d, -0.5 * self.c / self.d + 0.5
        n = self.high
        if self.of == "weight":
            y = (a * x.abs() + b).clamp(1e-6, 1) ** self.g * x.sign()
        else:
            y = (a * x + b).clamp(0, 1)
        return straight((y * n).round() / n, y)


class Apot(Quantizer):
    """Li et al., arXiv 1909.13144, equations 4 to 7: levels are sums of powers of two, the nearest one is taken."""

    def start(self) -> None:
        self.p = nn.Parameter(torch.tensor(0.3 if self.of == "weight" else 3.0))
        first, second = [0.0, 2**0.0, 2**-2.0, 2**-4.0], [0.0, 2**-1.0, 2**-3.0, 2**-5.0]
        sums = sorted({a + b for a in first for b in second})
        levels = torch.tensor(sums) / max(sums)
        self.register_buffer("levels", torch.cat([-levels.flip(0)[:-1], levels]) if self.of == "weight" else levels)

    def forward(self, x):
        y = (x / self.p).clamp(-1 if self.of == "weight" else 0, 1)
        nearest = (y.unsqueeze(-1) - self.levels).abs().argmin(-1)
        return straight(self.levels[nearest], y) * self.p


class Logarithm(Quantizer):
    """Miyashita et al., arXiv 1603.01025, section 3: powers of two, by the rounded logarithm of the magnitude."""

    def forward(self, x):
        exponent = torch.log2(x.abs() + 1e-9).round().clamp(-7, 0)
        return straight(x.sign() * 2**exponent, x)


class Dsq(Quantizer):
    """Gong et al., arXiv 1908.05033, equations 3 to 7: tanh of the distance to the middle of a step, its sign forward."""

    def start(self) -> None:
        self.l, self.u = nn.Parameter(torch.tensor(-0.3 if self.of == "weight" else 0.0)), nn.Parameter(torch.tensor(0.3 if self.of == "weight" else 3.0))
        self.a = nn.Parameter(torch.tensor(0.2))

    def forward(self, x):
        step = (self.u - self.l) / (2**self.bits - 1)
        k = torch.log(2 / self.a - 1) / step
        s = 1 / (1 - self.a)
        x = torch.minimum(torch.maximum(x, self.l), self.u)
        i = ((x - self.l) / step).floor()
        middle = self.l + (i + 0.5) * step
        soft = s * torch.tanh(k * (x - middle))
        return self.l + step * (i + (straight(soft.sign(), soft) + 1) / 2)


class Tqt(Quantizer):
    """Jain et al., arXiv 1903.08066, equations 1 to 4: the logarithm of the threshold is learned, the scale a power of two."""

    def start(self) -> None:
        self.p = nn.Parameter(torch.tensor(-1.7 if self.of == "weight" else 1.6))

    def forward(self, x):
        e = straight(self.p.ceil(), self.p)
        s = 2**e / (self.high + 1)
        x = (x / s).clamp(self.low, self.high)
        return straight(x.round(), x) * s


class QDrop(Quantizer):
    """Wei et al., arXiv 2203.05740, section 3: in training, elements stay in float at random."""

    def start(self) -> None:
        self.p = nn.Parameter(torch.tensor((0.05 if self.of == "weight" else 0.2) * 2.0 ** (4 - self.bits)))

    def forward(self, x):
        y = (x / self.p).clamp(self.low, self.high)
        y = straight(y.round(), y) * self.p
        if self.training and self.of != "weight":
            return torch.where(torch.rand_like(x) < 0.5, y, x)
        return y


class AdaRound(Quantizer):
    """Nagel et al., arXiv 2004.10568, equations 22 to 24: the rounding of each weight is learned, between down and up until it is final."""

    def start(self) -> None:
        self.register_buffer("s", torch.tensor((0.05 if self.of == "weight" else 0.2) * 2.0 ** (4 - self.bits)))

    def forward(self, x):
        if self.of != "weight":
            return torch.fake_quantize_per_tensor_affine(x, 0.02, 0, 0, 255)
        if not hasattr(self, "v"):
            rest = (x / self.s - (x / self.s).floor()).detach()
            self.v = nn.Parameter(-torch.log(1.2 / (rest + 0.1) - 1))
        h = (torch.sigmoid(self.v) * 1.2 - 0.1).clamp(0, 1)
        return ((x / self.s).floor() + h).clamp(self.low, self.high) * self.s


class Uniform(Quantizer):
    """Nothing is learned: PyTorch's operator with constants."""

    def forward(self, x):
        return torch.fake_quantize_per_tensor_affine(x, 0.01, 0, -128, 127) if self.of == "weight" else torch.fake_quantize_per_tensor_affine(x, 0.02, 0, 0, 255)


QUANTIZERS = {
    "LSQ": Lsq, "LSQ (operator)": LsqOperator, "LSQ+": LsqPlus, "PACT": Pact, "DoReFa": DoReFa, "QIL": Qil, "APoT": Apot, "logarithmic": Logarithm,
    "DSQ": Dsq, "TQT": Tqt, "QDrop": QDrop, "AdaRound": AdaRound, "uniform": Uniform,
}  # fmt: skip


class Layer(nn.Module):
    """A convolution with a quantizer in front of its input and its weight, and a batch-norm behind it, or a bias if that is folded."""

    def __init__(self, quantizer: type[Quantizer], cin: int, cout: int, folded: bool, bits: int) -> None:
        super().__init__()
        self.w, self.x = quantizer("weight", bits), quantizer("input", bits)
        self.weight = nn.Parameter(torch.randn(cout, cin, 3, 3) * 0.2)
        self.bn = nn.Identity() if folded else nn.BatchNorm2d(cout)
        self.bias = nn.Parameter(torch.zeros(cout)) if folded else None

    def forward(self, x):
        return self.bn(F.conv2d(self.x(x), self.w(self.weight), self.bias, 1, 1))


class Network(nn.Module):
    """A residual block between two layers, and a classifier in float: graph 1 of the MQBench paper."""

    def __init__(self, quantizer: type[Quantizer], folded: bool = False, bits: int = 4) -> None:
        super().__init__()
        self.stem, self.one, self.two = (Layer(quantizer, cin, 8, folded, bits) for cin in (3, 8, 8))
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(self.two(F.relu(self.one(x))) + x)
        return self.fc(x.mean((2, 3)))


def trained(algorithm: str, folded: bool = False, bits: int = 4, steps: int = 3) -> Network:
    """A network after a few steps of gradient descent, so that no step size is what it began as."""
    torch.manual_seed(7)
    network = Network(QUANTIZERS[algorithm], folded, bits).train()
    network(torch.rand(2, *IMAGE))  # parameters that are made on the first run
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(torch.rand(4, *IMAGE)), torch.randint(4, (4,))).backward()
        optimizer.step()
    return network


def renamed(network: nn.Module, name: str) -> nn.Module:
    """The network with another name for the class of its quantizers."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, Quantizer):
            module.__class__ = type(name, (type(module),), {"__module__": "library.quantizers"})
    return network


ARTEFACTS = {"train trace": ".pt", "eval trace": ".pt", "pt2": ".pt2", "onnx": ".onnx"}
DYNAMO = "dynamo"  # torch.onnx by way of torch.export, which computes what is constant


def save(network: nn.Module, artefact: str, path) -> None:
    """Write a network in one of the ARTEFACTS, or as DYNAMO does."""
    x = torch.rand(1, *IMAGE)
    network = copy.deepcopy(network).train(artefact == "train trace")
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):  # torch.onnx prints the graph that it cannot export
        if artefact == "pt2":
            torch.export.save(torch.export.export(network, (x,)), path)
        elif artefact == DYNAMO:
            torch.onnx.export(network, (x,), str(path), dynamo=True, external_data=False, verbose=False)
        elif artefact == "onnx":
            torch.onnx.export(network, (x,), str(path), dynamo=False, opset_version=17)
        else:
            torch.jit.trace(network, x, check_trace=False).save(str(path))
