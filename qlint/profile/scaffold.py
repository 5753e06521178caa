"""The first draft of a profile: valid as it stands, unknown where nobody has said anything yet."""

from __future__ import annotations

import re

from qlint.errors import ProfileError

_DRAFT = """#:schema ./profile.schema.json
# `qlint backend schema > profile.schema.json` puts the schema beside this file; editors then complete and check it.
# Everything in <angle brackets> is yours to fill in. `qlint backend validate` checks the file at any time, and
# `qlint check MODEL --backend` takes its path. What no kernel takes is unknown as long as `world` is open.

id = "{name}"
title = "<what it is, as people know it>"
vendor = "<who makes it>"
# aliases = ["<other names for --backend>"]
ingests = ["onnx", "tflite", "torchscript", "pt2", "openvino"]     # keep the formats that it reads
toolchain = "<compiler or runtime, and its version>"
# targets = ["<chip>", "<another chip>"]         # each may have a small overlay: [target.<chip>] at the end of the file
# default_target = "<chip>"
fallback = "none"                                # where an op goes that no kernel takes: cpu, float, or none (the model is rejected)
world = "open"                                   # open: an op that no kernel takes is unknown; closed: it falls back
notes = ["A draft: nothing here has been established yet."]

# -- evidence: who says so ----------------------------------------------------------------------------
# kind: measured (on the real backend), source (read in its code), documented (read in its manual), inferred.
[evidence.draft]
kind = "inferred"
ref = "<a document with its page, a file with its revision, or what was run>"
# version = "<of the document or tool>"
# date = "<when you looked>"

# -- spaces: what a port accepts, by name; a list means alternatives -----------------------------------
# storage, granularity (tensor, channel, block), axis (out, in), zero_point (zero, nonzero, qmin, mid), scale
# (power-of-two ...), symmetric, constant; the schema has them all. Built in: any, absent, float, quantized, constant,
# variable, float-constant, per-tensor, per-channel, per-out-channel.
[spaces]
a8 = {{ storage = "int8|uint8", granularity = "tensor" }}
w8 = [
  {{ storage = "int8", granularity = "tensor", zero_point = "zero", constant = true }},
  {{ storage = "int8", granularity = "channel", axis = "out", zero_point = "zero", constant = true }},
]
b32 = {{ storage = "int32" }}

# -- kernels: what it executes as one unit, in the order in which they are tried -------------------------
# match is a pattern of kinds: `conv act?` is a convolution and perhaps an activation behind it; act, clamp, binary,
# pool, norm, view, move and reduce are classes. ports: x, w, b, lhs, rhs, x* (all inputs), y. `qlint graph MODEL` shows
# the kinds and ports of a model.
[[kernels]]
id = "conv"
title = "convolution or matrix product with what is fused into it"
match = "conv|linear clamp?"
ports = {{ x = "a8", w = "w8", b = ["absent", "b32", "float-constant"], y = "a8" }}
guards = [{{ absorbed = "range" }}]               # the clamp vanishes into y's range
runs = "integer"
# checks = [{{ ports = {{ w = "per-tensor" }}, otherwise = "cpu", evidence = "draft" }}]   # what must hold beside: cpu, float, rejected, refused, wrong, slow
evidence = "draft"

[[kernels]]
id = "add"
title = "sum or product of two tensors"
match = "add|mul clamp?"
ports = {{ lhs = "a8", rhs = "a8", y = "a8" }}
guards = [{{ absorbed = "range" }}]
runs = "integer"
evidence = "draft"

[[kernels]]
id = "move"
title = "what only moves integers"
match = "view|transpose|concat|max_pool"
ports = {{ x = "any", "x*" = "a8", y = "a8" }}
guards = [{{ same = ["x*", "y"] }}]
runs = "integer"
evidence = "draft"
"""


def scaffold(name: str) -> str:
    """A draft for a backend of this id.

    Raises:
        ProfileError: the name is no id: small letters, digits, dots and dashes.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise ProfileError(f"{name!r} is no id for a backend", hint="small letters, digits, dots and dashes, like my-npu")
    return _DRAFT.format(name=name)
