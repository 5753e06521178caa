"""A toy backend for tests of rules: small, but picky in every way that a real one can be."""

from __future__ import annotations

from functools import cache

from qlint.profile.schema import Profile

TOML = """
id = "toy"
title = "a backend that does not exist"
ingests = ["onnx"]
fallback = "float"
fallback_evidence = "toy"
misplaced = "refused"
misplaced_evidence = "toy"
segments = "one"
segments_evidence = "toy"
bodies = "left"
bodies_evidence = "toy"

[arithmetic]
pair_bits = 16
accumulator_bits = 20
accumulator_bits_16 = 32
evidence = "toy"

[evidence.toy]
kind = "inferred"
ref = "made up"

[spaces]
a8 = { storage = "uint8|int8", granularity = "tensor" }
s8 = { storage = "int8", granularity = "tensor", zero_point = "zero" }
w8 = { storage = "int8", constant = true }
bias = ["absent", "float-constant", { storage = "int32", zero_point = "zero" }]

[[refuses]]
id = "dialect"
when = { native = ["QLinearAdd"] }
because = "operators on integer tensors are not imported"
evidence = "toy"

[[prepare]]
id = "series"
step = "series"
how = "intersect"
because = "two quantizers in series are merged"
evidence = "toy"

[[prepare]]
id = "x86"
step = "storage"
from = "int16"
to = "uint16"
readers = 1
because = "int16 activations are rewritten to uint16"
evidence = "toy"

[[kernels]]                  # writes another memory than is planned
id = "reference"
match = "exp"
runs = "float"
memory = "either-to-main"
advise = false
evidence = "toy"

[[kernels]]
id = "main-memory"
match = "lrn"
runs = "float"
memory = "main"
advise = false
evidence = "toy"

[[kernels]]                  # ends the segment
id = "elsewhere"
match = "cum_sum"
runs = "cpu"
advise = false
evidence = "toy"

[[kernels]]                  # nobody has looked
id = "unheard-of"
match = "erf"
runs = "unknown"
advise = false
evidence = "toy"

[[kernels]]                  # the add is computed in the accumulator, and wants its other operand there
id = "accumulating-apart"
match = "conv_transpose ~add"
ports = { x = "a8", w = "w8", "inner.add" = "a8", skip = "a8", y = "a8" }
runs = "integer"
advise = false
checks = [{ ports = { "inner.add" = "float" }, otherwise = "slow", evidence = "toy" }]
evidence = "toy"

[[kernels]]
id = "accumulating"
match = "conv_transpose add"
ports = { x = "a8", w = "w8", skip = "a8", y = "a8" }
runs = "integer"
advise = false
evidence = "toy"

[[kernels]]                  # checks: cpu and refused
id = "conv"
match = "conv|conv_transpose clamp?"
ports = { x = "a8", w = "w8", b = "bias", y = "a8" }
guards = [{ absorbed = "range" }, { bias_scale = 1e-4 }, { same_storage = ["x", "y"] }, { static = true }]
runs = "integer"
checks = [
  { ports = { w = "per-tensor|per-out-channel" }, otherwise = "cpu", evidence = "toy" },
  { ports = { w = { zero_point = "zero" } }, otherwise = "rejected", evidence = "toy" },
  { ports = { w = { scale = "nonzero" } }, otherwise = "wrong", evidence = "toy" },
  { guards = [{ multiplier = { of = "y", over = ["x", "w"], min = 1e-9, below = 256 } }], otherwise = "refused", evidence = "toy" },
]
evidence = "toy"

[[kernels]]                  # signed and symmetric only, no per-channel weights
id = "linear"
match = "linear clamp?"
ports = { x = "s8", w = { storage = "int8", granularity = "tensor" }, b = "bias", y = "s8" }
guards = [{ absorbed = "zero_point" }]
runs = "integer"
evidence = "toy"

[[kernels]]                  # unsigned only
id = "matmul"
match = "matmul"
ports = { lhs = { storage = "uint8" }, rhs = { storage = "uint8" }, y = "a8" }
runs = "integer"
evidence = "toy"

[[kernels]]                  # weights per channel or in blocks
id = "matmul-weight"
match = "matmul"
ports = { x = "a8", w = [{ storage = "int8", granularity = "channel" }, { storage = "int4", granularity = "block", block_size = [32] }], y = "a8" }
runs = "integer"
checks = [{ guards = [{ pair_sum = "shown" }], otherwise = "wrong", evidence = "toy" }, { guards = [{ pair_sum = "possible" }], otherwise = "note", evidence = "toy" }]
evidence = "toy"

[[kernels]]
id = "div"
match = "div"
ports = { lhs = { storage = "uint8", scale_shape = "scalar" }, rhs = { storage = "uint8", scale_shape = "scalar" }, y = "a8" }
runs = "integer"
evidence = "toy"

[[kernels]]
id = "binary"
match = "add|mul|sub clamp?"
ports = { lhs = "a8", rhs = "a8", y = "a8" }
guards = [{ absorbed = "zero_point" }, { same_storage = ["lhs", "rhs"] }]
runs = "integer"
evidence = "toy"

[[kernels]]
id = "same"
match = "max_pool"
ports = { x = "a8", y = "a8" }
guards = [{ same = ["x", "y"] }]
runs = "integer"
evidence = "toy"

[[kernels]]
id = "concat"
match = "concat"
ports = { "x*" = "a8", y = "a8" }
guards = [{ same = ["x*", "y"] }]
runs = "integer"
evidence = "toy"

[[kernels]]                  # checks: wrong
id = "fixed"
match = "softmax|sigmoid"
ports = { x = "a8", y = "a8" }
runs = "integer"
checks = [
  { ports = { y = { zero_point = "qmin" } }, otherwise = "wrong", evidence = "toy" },
  { ports = { y = { scale = [0.00390625] } }, otherwise = "wrong", evidence = "toy" },
]
evidence = "toy"

[[kernels]]
id = "readers"
match = "avg_pool"
ports = { x = { storage = "uint8|uint16" }, y = "a8" }
guards = [{ readers = { x = { max = 1 } } }]
runs = "integer"
evidence = "toy"

[[kernels]]
id = "constraints"
match = "reduce_mean|resize"
ports = { x = "a8", y = "a8" }
guards = [{ rank = { x = { max = 4 } }, dims = { x = { "1" = { max = 64 } } }, known_shapes = true, op_attrs = { resize = { mode = ["nearest"] } }, opset = { min = 13 }, inputs = { max = 2 } }]
runs = "integer"
evidence = "toy"

[[kernels]]
id = "inner"
match = "gather"
ports = { x = "a8", x1 = "constant", y = "a8" }
guards = [{ output = false, produced_by = { x = ["conv", "input"] } }]
runs = "integer"
evidence = "toy"

[[kernels]]
id = "half"
match = "transpose"
ports = { x = { quantized = true, dtype = "float32" }, y = "quantized" }
runs = "integer"
evidence = "toy"

[[kernels]]
id = "shift"
match = "hard_swish"
ports = { x = { storage = "uint8|int8", scale = "power-of-two" }, y = "a8" }
guards = [{ shift = { of = "y", over = ["x"], min = -4, max = 4 } }]
runs = "integer"
evidence = "toy"

[[kernels]]
id = "static"
match = "leaky_relu"
ports = { x = { storage = "uint8|int8", dynamic = false, scale = "constant" }, y = "a8" }
runs = "integer"
evidence = "toy"

[[kernels]]                  # how the file is written
id = "written"
match = "tanh"
ports = { x = { storage = "uint8|int8", zero_point_given = true }, y = { storage = "uint8|int8", writers = 1 } }
runs = "integer"
evidence = "toy"

[[kernels]]                  # its slope is quantized by the compiler
id = "slope"
match = "prelu"
ports = { x = "a8", x1 = { storage = "int8", prequantized = false }, y = "a8" }
runs = "integer"
evidence = "toy"

[[kernels]]                  # only where shapes are not known ahead of time
id = "symbolic"
match = "elu"
ports = { x = "a8", y = "a8" }
guards = [{ static = false }]
runs = "integer"
evidence = "toy"

[[kernels]]                  # a float scale, a float output
id = "norm"
match = "layer_norm"
ports = { x = "a8", gamma = "float", y = "float" }
runs = "integer"
evidence = "toy"

[[kernels]]                  # reads and writes the integers itself
id = "stored"
match = "gelu"
ports = { x = { storage = "uint8", stored = true }, y = { storage = "uint8", stored = true } }
runs = "integer"
evidence = "toy"

[[kernels]]                  # copies integers
id = "copied"
match = "squeeze"
ports = { x = "a8", y = "a8" }
runs = "integer"
checks = [{ guards = [{ close = ["x", "y"] }], otherwise = "wrong", evidence = "toy" }]
evidence = "toy"

[[kernels]]                  # takes any zero point, if the integers are unsigned
id = "unsigned"
match = "softplus"
ports = { x = [{ storage = "int8|int16", zero_point = "zero" }, { storage = "uint8" }], y = "a8" }
runs = "integer"
evidence = "toy"

[[kernels]]                  # something that no rule puts into words
id = "odd"
match = "pow"
ports = { lhs = "a8", rhs = { storage = "uint8", zero_point = "qmin" }, y = "a8" }
runs = "integer"
evidence = "toy"

[[kernels]]                  # runs where nobody has looked
id = "sliced"
match = "slice"
ports = { x = "a8", y = "a8" }
runs = "integer"
checks = [{ guards = [{ rank = { x = { max = 4 } } }], otherwise = "unknown", evidence = "toy" }, { ports = { x = { storage = "uint8" } }, otherwise = "slow", evidence = "toy" }]
evidence = "toy"
"""


@cache
def toy() -> Profile:
    """The toy backend's profile."""
    import tomllib

    return Profile.model_validate(tomllib.loads(TOML))
