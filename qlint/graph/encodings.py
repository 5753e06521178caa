"""Encodings: quantizers that a toolchain is told in a file beside the model, by tensor name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlint.graph.model import Tensor
    from qlint.graph.quantizer import Quantizer


@dataclass(frozen=True, slots=True)
class Encoding:
    """What an encodings file says of one tensor.

    Per-channel grids of formats that name no axis have none before they are merged: it is that of the output channels.
    `contradiction` is (what the entry says, what follows from the rest of it), where both cannot hold.
    """

    name: str  # of the tensor, as the file has it
    where: str  # in the file, for messages: activation_encodings["x"]
    grid: Quantizer | None  # None: the tensor stays in float, of the type `float_type`
    float_type: str = ""
    parameter: bool | None = None  # whether the file has it among the weights and biases; None: it does not tell them apart
    contradiction: tuple[str, str] | None = None
    input: int | None = None  # `name` is that of a node, and this one of the activations that the node reads


@dataclass(frozen=True, slots=True)
class Misfit:
    """An entry that cannot be about the tensor of its name."""

    entry: Encoding
    tensor: Tensor
    found: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Format:
    """What is true of every file of a format."""

    title: str  # with the version, if the file tells it: AIMET encodings 1.0.0
    family: str  # whose tools take it: aimet, tensorrt, vitis ... (`encodings` of a profile)
    overrides: bool = True  # where the model has a quantizer of its own, the file wins
    weights: bool = True  # it can say something of weights
    suffixed: bool = False  # names end with `_` and the type of the node that makes the tensor


@dataclass(slots=True, eq=False)
class Encodings:
    """An encodings file; behind `entries`, what merging it into a model has found."""

    path: str
    format: Format
    entries: tuple[Encoding, ...]
    matched: dict[str, Tensor] = field(default_factory=dict)  # by name of the entry
    misfits: list[Misfit] = field(default_factory=list)
    contradicted: list[tuple[Encoding, Tensor, Quantizer]] = field(default_factory=list)  # with the other grid that the model, or another entry, has

    @property
    def file(self) -> str:
        """The name of the file, without its folder."""
        return self.path.replace("\\", "/").rpartition("/")[2]

    @property
    def unmatched(self) -> tuple[Encoding, ...]:
        """Entries whose name no tensor of the model has; names that TensorRT makes up for tensors of its own are not meant."""
        return tuple(entry for entry in self.entries if entry.name not in self.matched and not entry.name.startswith("(Unnamed Layer*"))
