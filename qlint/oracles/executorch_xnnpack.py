"""ExecuTorch's XNNPACK delegate as a judge of torch.export archives.

An archive is lowered as a user would do it, `to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])`, which needs no
device; the program is then loaded and run once by ExecuTorch's own runtime, which hands the delegated parts to XNNPACK. An operator

  is `integer`   if it, or the operator that it was fused into, is a node of a graph for XNNPACK that reads quantized tensors only (qint8,
                 or qdint8, which is quantized on the fly);
     `float`     if XNNPACK gets it on floats, or if it is not delegated, and runs on ExecuTorch's portable kernels;
     `absorbed`  if the lowering left nothing of it;
     `rejected`  if the lowering raises an exception, or the runtime does when it loads or runs the program: the model is `refused`.

The numbers are wrong (`errors`, in steps of the output) if a network of one operator in integer does not give what PyTorch gives for it.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Any

TOLERANCE = 1.01  # steps: kernels round products of scales differently
_QUANTIZERS = ("quantized_decomposed::", "torchao::")


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the archive at `path`, as the fields of an `Answer`."""
    from importlib.metadata import version

    import executorch.kernels.quantized  # noqa: F401 (kernels of the quantizers that are not delegated)
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    from executorch.extension.pybindings.portable_lib import _load_for_executorch_from_buffer

    from qlint.oracles.executorch_graph import captured, placed

    torch.manual_seed(0)
    base: dict[str, Any] = {"backend": f"{backend}@{target}", "versions": {"executorch": version("executorch"), "torch": torch.__version__}}
    program: Any = torch.export.load(path)
    labels, given = _labels(path, program), _inputs(program)
    for node in program.graph.nodes:
        node.meta.pop("from_node", None)  # what comes out of the lowering then traces back to this graph
    try:
        with captured() as graphs:
            lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
        where = placed(lowered.exported_program(), graphs)
        buffer = lowered.to_executorch().buffer  # what is loaded points into it, and results into what is loaded
        loaded = _load_for_executorch_from_buffer(buffer)
        off = _off(program, given, loaded.forward(list(given)))
    except Exception as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        rejected = dict.fromkeys(labels.values(), "rejected")
        return {**base, "outcome": "refused", "reasons": [f"{type(error).__name__}: {reason}"[:200]], "placements": rejected}
    placements = {label: where.get(name, "absorbed") for name, label in labels.items()}
    in_integer = [label for label, place in placements.items() if place == "integer"]
    errors = {in_integer[0]: round(off, 1)} if off > TOLERANCE and len(in_integer) == 1 else {}
    return {**base, "outcome": "runs", "reasons": [], "placements": placements, "errors": errors}


def _labels(path: str, program: Any) -> dict[str, str]:
    """The reader's name for each operator that computes, by its name in the exported graph."""
    from qlint.readers import read

    nodes = [node for node in program.graph.nodes if node.op == "call_function" and hasattr(node.target, "_schema")]
    natives = [node.target._schema.name for node in nodes]
    ops = [op for op in read(path).nodes if op.kind != "constant"]
    matches = SequenceMatcher(None, natives, [op.native for op in ops], autojunk=False).get_matching_blocks()
    pairs = [(nodes[block.a + at], ops[block.b + at]) for block in matches for at in range(block.size)]
    return {node.name: op.label for node, op in pairs if not op.native.startswith(_QUANTIZERS)}


def _inputs(program: Any) -> tuple[Any, ...]:
    """Random values of the shapes and types that a program was exported with."""
    import torch

    names, given = set(program.graph_signature.user_inputs), []
    for value in (node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in names):
        shape = [int(size) for size in value.shape]
        given.append(torch.randn(shape).to(value.dtype) if value.is_floating_point() else torch.zeros(shape, dtype=value.dtype))
    return tuple(given)


def _off(program: Any, given: tuple[Any, ...], found: Any) -> float:
    """How far the first result is from that of PyTorch, in steps of its grid; 0 if it is on none."""
    import torch

    last = next(node for node in program.graph.nodes if node.op == "output").args[0][0]
    if "dequantize_per_tensor" not in str(last.target) or not isinstance(last.args[1], float):
        return 0.0
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_leaves(program.module()(*given))[0]
    return float((found[0] - wanted).abs().max()) / last.args[1]
