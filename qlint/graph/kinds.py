"""The op vocabulary: classes of canonical kinds, used by profiles, passes and rules alike."""

from __future__ import annotations

# Named sets of kinds. A profile may use a name wherever it may use a kind, and may add its own.
CLASSES: dict[str, frozenset[str]] = {
    name: frozenset(kinds.split())
    for name, kinds in {
        "weighted": "conv conv_transpose linear matmul",
        "clamp": "relu clip",
        "act": "relu clip leaky_relu prelu elu selu celu sigmoid hard_sigmoid hard_swish swish tanh gelu mish "
        "softplus softsign thresholded_relu",
        "binary": "add sub mul div min max pow",
        "pool": "max_pool avg_pool global_avg_pool global_max_pool lp_pool global_lp_pool",
        "norm": "batch_norm instance_norm layer_norm group_norm rms_norm lp_norm lrn",
        "view": "reshape flatten squeeze unsqueeze identity",
        "move": "reshape flatten squeeze unsqueeze identity transpose slice split gather gather_elements gather_nd "
        "expand tile depth_to_space space_to_depth concat pad stack unstack reverse batch_to_space space_to_batch",
        "reduce": "reduce_mean reduce_sum reduce_max reduce_min reduce_prod reduce_l1 reduce_l2 "
        "reduce_log_sum reduce_log_sum_exp reduce_sum_square arg_max arg_min",
    }.items()
}

# Kinds that carry no computation of their own: the nodes that become quantizers, and constants.
QUANTIZER_KINDS = frozenset({"quantize", "dequantize"})


def expand(names: str) -> frozenset[str]:
    """`"conv|act"` → the kinds meant, class names resolved against :data:`CLASSES`."""
    kinds: set[str] = set()
    for name in names.split("|"):
        kinds |= CLASSES.get(name, {name})
    return frozenset(kinds)
