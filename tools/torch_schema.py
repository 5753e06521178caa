"""Write qlint/readers/torch_schema.json: arguments, defaults and results of the operators that a network may call.

TorchScript leaves out trailing arguments that are the default, and names only those after them. An operator is a
list of overloads [[argument, ...], [result type, ...]]; an argument is [name, type] or [name, type, default].
Training, devices, distributed work and storage are left out.

    python tools/torch_schema.py      (needs the package `torch`; the version used is recorded in the file)
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch

TARGET = Path(__file__).parents[1] / "qlint" / "readers" / "torch_schema.json"
NAMESPACES = ("aten", "quantized", "prim", "prepacked", "mkldnn_prepacked", "quantized_decomposed")
LEFT_OUT = re.compile(
    r"backward|_foreach|_fused_(adam|sgd|adagrad)|cudnn|miopen|_mps|_nested|nested_|sparse|_copy$|_cuda|_thnn|_efficient|_flash|fft_|_fft|linalg_(?!vector_norm)|special_"
    r"|_test|autograd|record_stream|_amp_|_dirichlet|_segment|^aten::_c(ompute|slt)|_dist|^aten::_(validate|assert|async|unsafe_index|reshape_alias)|hspmm|sspaddmm"
    r"|_values|crow|ccol|rename|refine_names|align_|random|_philox|retain|requires_grad|is_leaf|set_$|set_data|storage|_scatter_reduce|::lu_|_lu_|cholesky|ormqr|geqrf|qr$|symeig|svd|_csr|_foobar|_fill_mem|_sobol|_spdiags|_spsolve|_vmap|batch_dim|_xla|_triton|_scaled_grouped|_lazy_clone|_mkldnn_|_standard_gamma|_hist|_make_d|_fw_primal|_jagged|jagged_"
)
UNUSED = ("complex", "Dict", "AnyEnumType", "Generator", "Future", "Storage")  # in an overload's types: not what networks compute with
SHORT = {"Tensor": "T", "Optional[Tensor]": "T?", "List[Tensor]": "T[]", "number": "s", "Optional[number]": "s?", "int": "i", "float": "f", "bool": "b",
         "List[int]": "i[]", "Optional[List[int]]": "i[]?", "List[float]": "f[]", "Optional[List[float]]": "f[]?", "Optional[int]": "i?", "Optional[float]": "f?",
         "Optional[bool]": "b?", "List[Optional[Tensor]]": "T?[]"}  # fmt: skip


def short(kind: Any) -> str:
    name = str(kind)
    return "object" if name.startswith("__torch__") else SHORT.get(name, name)


def described(argument: Any) -> list[Any]:
    kind = short(argument.type)
    if not argument.has_default_value():
        return [argument.name, kind]
    value = argument.default_value
    return [argument.name, kind, value if isinstance(value, (int, float, bool, str, list, type(None))) else str(value)]


def main() -> None:
    table: dict[str, list[Any]] = {}
    for schema in torch._C._jit_get_all_schemas():
        if schema.name.split("::")[0] not in NAMESPACES or LEFT_OUT.search(schema.name) or any(a.is_out for a in schema.arguments):
            continue
        if any(unused in str(one.type) for unused in UNUSED for one in (*schema.arguments, *schema.returns)):
            continue
        overload = [[described(a) for a in schema.arguments], [short(r.type) for r in schema.returns]]
        if overload not in table.setdefault(schema.name, []):
            table[schema.name].append(overload)
    text = json.dumps({"torch": torch.__version__.split("+")[0], "operators": table}, separators=(",", ":"), sort_keys=True)
    TARGET.write_text(text.replace('],"', '],\n"') + "\n", encoding="utf-8")
    print(f"{TARGET}: {len(table)} operators, {len(text)} bytes")


if __name__ == "__main__":
    main()
