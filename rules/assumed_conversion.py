"""The backend takes another format, and the verdict assumes that converting the model keeps what is in it.

## What it does

Says that a file was judged as if it had been converted, faithfully, to a format that the backend reads: each
operator becomes the one of the same kind there, and every quantizer keeps its place, scale and zero point.
Where a backend picks its kernels by how its own format stores integers, nothing is said of other files: every
operator is unknown.

## Why it matters on hardware

The backend never sees this file. What the converter makes of it decides: exporters split and fuse operators,
drop quantizers that they do not know, and store 4-bit grids in 8 bits.

## Example

    qlint check model.pt --backend qnn-htp        # which reads ONNX

## Instead

    qlint check model.onnx --backend qnn-htp      # the file that is deployed

## Fix and its safety

Convert the model and check the result too. Nothing is changed in the file.

## References

- PyTorch documentation, torch.onnx: exporting networks to ONNX
"""

from qlint.graph import Model
from qlint.lint.rule import Rule
from qlint.lint.testing import Graph, s8, u8
from qlint.lint.where import unestablished

rule = Rule(
    name="assumed-conversion",
    code="QL807",
    since="0.1.0",
    what="the file is {found}, and {backend} takes {wanted}",
    why="the verdict assumes that it is converted faithfully",
    fix="check the converted file too",
)
rule.explains("format")
rule.explains("format", where=unestablished, why="how the converter stores the integers decides what runs there, and the verdict leaves it open")


def _in(form: str) -> Model:
    g = Graph()
    model = g.model(g.conv(g.input() | u8(), w=s8()) | u8())
    model.format = form
    return model


@rule.bad(sites=0, says="the file is TorchScript, and toy takes ONNX; the verdict assumes that it is converted faithfully")
def another_format() -> Model:
    return _in("torchscript")


@rule.good
def a_format_that_it_reads() -> Model:
    return _in("onnx")


@rule.good
def near_miss_built_in_memory() -> Model:
    return _in("")
