"""PyTorch's linear layer over more than two dimensions, as every exporter spells it: a product, and an addition of the bias.

ONNX's Gemm, which `linear` is, takes matrices only (torch.onnx, symbolic_opset9.linear). The rank is known once shapes are.
"""

from __future__ import annotations

from qlint.graph import Model, Op, Tensor, Use

_DOMAINS = ("aten", "quantized", "prepacked")


def split_linear(model: Model) -> None:
    """Linear layers of PyTorch whose input is known to be no matrix become `matmul`, and `add` where they have a bias."""
    ops: list[Op] = []
    for op in model.ops:
        for body in op.bodies.values():
            split_linear(body)
        ops.append(op)
        if op.kind == "linear" and op.domain in _DOMAINS and op.attrs.get("transB") and "x" in op.uses and op.uses["x"].tensor.rank not in (None, 2):
            op.kind = "matmul"
            if "b" in op.uses:
                ops.append(_bias(op, model))
    if len(ops) != len(model.ops):
        model.ops = ops
        model.__dict__.pop("flow", None)  # was told for the ops before


def _bias(op: Op, model: Model) -> Op:
    """The addition of the bias, which takes over the results of the product."""
    use = op.uses.pop("b")
    add = Op(len(model.ops) + op.index, f"{op.name}.add", "add", op.native, domain=op.domain, source=op.source, fused=True)
    out = op.outputs[0]
    product = Tensor(f"{op.name}.matmul", out.dtype, out.shape, producer=op)
    model.tensors[product.name] = product
    add.outputs, op.outputs = [out], [product]
    out.producer = add
    for role, tensor in (("lhs", product), ("rhs", use.tensor)):
        add.uses[role] = Use(tensor, add, role, len(add.uses), "op", (), tensor.name)
        tensor.uses.append(add.uses[role])
    use.tensor.uses.remove(use)
    return add
