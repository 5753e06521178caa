"""Small networks, and what PyTorch's own tools make of them: prepared, converted, traced, scripted, frozen."""

import copy
import warnings

import torch
import torch.ao.quantization as quantization
from torch import nn
from torch.ao.quantization import quantize_fx

warnings.filterwarnings("ignore")
torch.manual_seed(0)
torch.set_num_threads(1)
IMAGE = torch.randn(1, 3, 16, 16)
SEQUENCE = torch.randn(2, 5, 8)
WORDS, MASK = torch.randint(20, (2, 6)), torch.ones(2, 6)


class Residual(nn.Module):
    """A ResNet's block with an in-place addition, and a depthwise one."""

    def __init__(self, cin=3, cout=8):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, groups=cout)
        self.bn2 = nn.BatchNorm2d(cout)
        self.down = nn.Sequential(nn.Conv2d(cin, cout, 1, 2), nn.BatchNorm2d(cout))
        self.avg = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(cout, 4)

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += self.down(x)
        y = torch.cat([self.relu(y), y * 0.5], 1)[:, ::2]
        return self.fc(torch.flatten(self.avg(y), 1))


class Mobile(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16), nn.ReLU6(inplace=True))
        self.depthwise = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.BatchNorm2d(16), nn.SiLU())
        self.project = nn.Sequential(nn.Conv2d(16, 8, 1), nn.BatchNorm2d(8))
        self.drop = nn.Dropout(0.2)
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, x):
        x = self.stem(x)
        x = x + self.drop(self.project(self.depthwise(self.expand(x))))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, -1, h, w)
        return self.up(x), x.mean((2, 3)), x.softmax(1).argmax(1)


class Recurrent(nn.Module):
    def __init__(self, bidirectional=False):
        super().__init__()
        self.rnn = nn.LSTM(8, 6, num_layers=2, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(12 if bidirectional else 6, 4)

    def forward(self, x):
        y, (h, _) = self.rnn(x)
        return self.fc(y), h


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(8), nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(b, n, 3, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * 0.5).softmax(-1)
        return x + self.out((weights @ v).transpose(1, 2).reshape(b, n, c))


class Vision(nn.Module):
    """A vision transformer: patches, a class token, positions, two blocks, a head."""

    def __init__(self):
        super().__init__()
        self.patches, self.token, self.places = nn.Conv2d(3, 8, 4, 4), nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 17, 8))
        self.blocks, self.norm, self.head = nn.Sequential(Attention(), Attention()), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


class Bert(nn.Module):
    """Embeddings of words and places, attention behind a mask, and a gelu between two linear layers."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.norm = nn.Embedding(20, 8), nn.Embedding(16, 8), nn.LayerNorm(8)
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.up, self.down, self.pooler = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)

    def forward(self, words, mask):
        x = self.norm(self.words(words) + self.places(torch.arange(words.shape[1])))
        q, k, v = (layer(x).view(x.shape[0], -1, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = torch.matmul(q, k.transpose(-1, -2)) / 2.0 + (1.0 - mask[:, None, None, :]) * -10000.0
        x = x + self.out(torch.matmul(torch.softmax(scores, -1), v).transpose(1, 2).reshape(x.shape))
        x = self.norm(x + self.down(nn.functional.gelu(self.up(x))))
        return torch.tanh(self.pooler(x[:, 0]))


class Control(nn.Module):
    """Branches and loops of which only the running network knows which way they go."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.steps = nn.Linear(8, 8), nn.Linear(8, 8), 3

    def forward(self, x, flag: int):
        if x.dim() != 3:
            raise ValueError("three dimensions")
        if flag > 0:
            y = self.a(x)
        else:
            y = torch.relu(self.b(x))
        for _ in range(self.steps):
            y = y + 1.0
        for _ in range(flag):
            y = torch.tanh(y)
        return y


class Stateful(nn.Module):
    """A recurrent cell that keeps its state in an attribute, empty at first."""

    def __init__(self):
        super().__init__()
        self.cell, self.state = nn.GRUCell(8, 8), torch.zeros(0)

    def forward(self, x):
        h = self.cell(x, self.state) if len(self.state) > 0 else self.cell(x)
        self.state = torch.tanh(h)
        return h


class Structures(nn.Module):
    """Lists, dictionaries, tuples and optional inputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleDict({"x": nn.Linear(8, 8), "y": nn.Conv1d(5, 5, 1)})

    def forward(self, x, pair: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        seen: list[torch.Tensor] = []
        scales: list[float] = []
        for number, layer in enumerate(self.layers.values()):
            x = layer(x)
            seen.append(x)
            scales.append(number * 0.5)
        if mask is not None:
            x = x * mask
        return {"joined": torch.cat(seen, 1) * scales[1], "product": pair[0] @ pair[1].transpose(0, 1)}


class Cached(nn.Module):
    """A cache of keys, of which one place is written in each run."""

    def __init__(self):
        super().__init__()
        self.register_buffer("cache", torch.zeros(1, 4, 8))
        self.proj = nn.Linear(8, 8)

    def forward(self, x, at: int):
        self.cache[:, at] = self.proj(x)[:, 0]
        return torch.relu(self.cache)


class InPlace(nn.Module):
    """What is written into a tensor, or into a part of it, reaches whoever reads it later."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        z = y + 1
        y.relu_()
        part = z[:, :2]
        part.mul_(2.0)
        return y + z


class Learned(nn.Module):
    """LSQ and per-channel fake quantization, as papers write them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.scale = nn.Parameter(torch.tensor([0.03]))
        self.zero = nn.Parameter(torch.tensor([0.0]))
        self.register_buffer("scales", torch.tensor([0.1, 0.2, 0.3, 0.4]))
        self.register_buffer("zeros", torch.zeros(4, dtype=torch.int32))

    def forward(self, x):
        x = torch._fake_quantize_learnable_per_tensor_affine(x, self.scale, self.zero, -8, 7, 1.0)
        w = torch.fake_quantize_per_channel_affine(self.conv.weight, self.scales, self.zeros, 0, -7, 7)
        y = nn.functional.conv2d(x, w, self.conv.bias)
        return torch.fake_quantize_per_tensor_affine(y, 0.25, 3, 0, 15)


def prepared(engine, module=None, *, qat=True):
    """Prepared by FX, calibrated on one image."""
    torch.backends.quantized.engine = engine
    module = module or Residual()
    if qat:
        found = quantize_fx.prepare_qat_fx(module.train(), quantization.get_default_qat_qconfig_mapping(engine), (IMAGE,))
    else:
        found = quantize_fx.prepare_fx(module.eval(), quantization.get_default_qconfig_mapping(engine), (IMAGE,))
    found(IMAGE)
    return found.eval()


def converted(engine, module=None):
    return quantize_fx.convert_fx(prepared(engine, module, qat=False))


def reference(engine):
    return quantize_fx.convert_to_reference_fx(prepared(engine, qat=False))


def eager(engine, convert=True):
    """The older flow: stubs, fused modules, a QConfig on the network."""
    torch.backends.quantized.engine = engine

    class Stubbed(nn.Module):
        def __init__(self):
            super().__init__()
            self.quant, self.dequant, self.add = quantization.QuantStub(), quantization.DeQuantStub(), nn.quantized.FloatFunctional()
            self.conv, self.bn, self.relu, self.conv2 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, x):
            x = self.relu(self.bn(self.conv(self.quant(x))))
            return self.dequant(self.add.add_relu(x, self.conv2(x)))

    module = Stubbed().train()
    module.qconfig = quantization.get_default_qat_qconfig(engine)
    module = quantization.fuse_modules_qat(module, [["conv", "bn", "relu"]])
    quantization.prepare_qat(module, inplace=True)
    module(IMAGE)
    module.eval()
    return quantization.convert(copy.deepcopy(module)) if convert else module


def dynamic(module):
    torch.backends.quantized.engine = "fbgemm"
    return quantization.quantize_dynamic(module.eval(), {nn.LSTM, nn.Linear}, dtype=torch.qint8)


def traced(module, *inputs):
    with torch.no_grad():
        return torch.jit.trace(module, inputs, check_trace=False)


def scripted(module, *inputs):
    return torch.jit.script(module)


def stepwise(module, *inputs):
    """Traced without the kernels that PyTorch fuses for inference."""
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return traced(module, *inputs)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def frozen(module, *inputs):
    return torch.jit.freeze(torch.jit.script(module))


# name → (how it becomes TorchScript, the network, its inputs)
MODELS = {
    "residual": (traced, lambda: Residual().eval(), IMAGE), "residual in training": (traced, lambda: Residual().train(), IMAGE),
    "mobile": (traced, lambda: Mobile().eval(), IMAGE), "lstm": (traced, lambda: Recurrent().eval(), SEQUENCE),
    "bidirectional lstm": (traced, lambda: Recurrent(True).eval(), SEQUENCE), "attention": (traced, lambda: Attention().eval(), SEQUENCE),
    "encoder layer": (traced, lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), SEQUENCE), "in place": (traced, lambda: InPlace().eval(), IMAGE),
    "encoder layer in steps": (stepwise, lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), SEQUENCE),
    "learned": (traced, lambda: Learned().eval(), IMAGE),
    "dynamic": (traced, lambda: dynamic(Recurrent()), SEQUENCE), "dynamic bert": (traced, lambda: dynamic(Bert()), WORDS, MASK),
    "vision transformer": (traced, lambda: Vision().eval(), IMAGE), "bert": (traced, lambda: Bert().eval(), WORDS, MASK),
    **{f"converted for {engine}": (traced, lambda engine=engine: converted(engine), IMAGE) for engine in ("x86", "onednn")},
    **{f"{what} for {engine}": (traced, lambda make=make, engine=engine: make(engine), IMAGE)
       for what, make in (("prepared", prepared), ("converted", converted), ("reference", reference), ("eager", eager)) for engine in ("fbgemm", "qnnpack")},
    "eager prepared": (traced, lambda: eager("qnnpack", convert=False), IMAGE), "calibrating": (traced, lambda: prepared("fbgemm", qat=False), IMAGE),
    "scripted residual": (scripted, lambda: Residual().eval(), IMAGE), "scripted attention": (scripted, lambda: Attention().eval(), SEQUENCE),
    "scripted lstm": (scripted, lambda: Recurrent().eval(), SEQUENCE), "scripted converted": (scripted, lambda: converted("fbgemm"), IMAGE),
    "frozen converted": (frozen, lambda: converted("qnnpack"), IMAGE), "frozen residual": (frozen, lambda: Residual().eval(), IMAGE),
    "scripted prepared": (scripted, lambda: prepared("qnnpack"), IMAGE), "scripted vision transformer": (scripted, lambda: Vision().eval(), IMAGE),
    "scripted control": (scripted, lambda: Control().eval(), SEQUENCE), "scripted dynamic": (scripted, lambda: dynamic(Recurrent()), SEQUENCE),
}  # fmt: skip


def save(name, folder):
    """The file of a model, written by PyTorch."""
    make, network, *inputs = MODELS[name]
    path = folder / f"{name.replace(' ', '_')}.pt"
    make(network(), *inputs).save(str(path))
    return path
