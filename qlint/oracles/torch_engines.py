"""PyTorch's engines for quantized tensors as judges: `fbgemm`, `x86`, `onednn`, `qnnpack`.

A TorchScript file is followed operator by operator on random inputs, with the engine set. If it holds fake quantizers, it is first
lowered as `convert_fx` would do (see torch_rebuild.py). An operator

  is `integer`   if a kernel for quantized tensors ran, or one that quantizes its input on the fly;
     `float`     if it ran on floats, or if its kernel calls `dequantize` and computes on the result, as the profiler tells;
     `absorbed`  if the lowering took it into another one;
     `rejected`  if it raised an exception, which ends the run: the model is `refused`, and what comes later is `skip`;
     `skip`      if it computes nothing: quantizers, sizes.

The numbers are wrong (`errors`, in steps of the output) where the result is not what the fake-quantized operator gives on the same
inputs, or where the accumulator saturates: each conv and linear is run on the codes that drive its sums to the extremes,
and compared with the sums in exact integers. CPUs without VNNI add pairs of products in 16 bits; a target `avx2` is shown on
any CPU, by ONEDNN_MAX_CPU_ISA and FBGEMM_ENABLE_INSTRUCTIONS, a target `vnni` needs one that has it.
"""

from __future__ import annotations

import os
from typing import Any


def answer(path: str, backend: str, target: str) -> dict[str, Any]:
    """The verdict on the model at `path`, as the fields of an `Answer`."""
    if target == "avx2":
        os.environ.update(ONEDNN_MAX_CPU_ISA="AVX2", FBGEMM_ENABLE_INSTRUCTIONS="AVX2")
    import torch

    from qlint.oracles.torch_run import Run

    capability = torch.backends.cpu.get_cpu_capability()
    base: dict[str, Any] = {"backend": f"{backend}@{target}", "versions": {"torch": torch.__version__}, "reasons": []}
    if target == "vnni" and not torch.cpu._is_vnni_supported():
        return {**base, "outcome": "crashed", "reasons": [f"this CPU ({capability}) has no VNNI"]}
    torch.backends.quantized.engine = backend
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with torch.no_grad():
        run = Run(path)
    return {**base, "outcome": "refused" if run.failure else "runs", "reasons": [run.failure] if run.failure else [], "placements": run.placements, "errors": run.errors}
