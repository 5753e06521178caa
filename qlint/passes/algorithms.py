"""The algorithms that networks are trained with for quantization, and the signs by which files show them.

One class an algorithm: its docstring has the paper's formula and says what of it hardware can run; its attributes are the signs, the
strongest first. `qlint.passes.trained` looks for them. An expression is written as in `qlint.passes.composites`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

Levels = Sequence[float]


class Algorithm:
    """An algorithm, and its signs. None of them is set: what a file does not show is not named."""

    name: ClassVar[str]
    classes: ClassVar[str] = ""  # regular expression on the name of a module's class
    parameters: ClassVar[tuple[frozenset[str], ...]] = ()  # names that the parameters of a module have together
    parts: ClassVar[tuple[tuple[str, ...], ...]] = ()  # named parts of `forms`: a name with an underscore, and expressions
    forms: ClassVar[tuple[str, ...]] = ()  # expressions that nothing else computes
    companions: ClassVar[tuple[str, ...]] = ()  # expressions that others compute too: they count where a form of it stands elsewhere

    @staticmethod
    def levels(values: Levels) -> bool:
        """Whether a table that a form looks into has the levels of the algorithm."""
        return True


class QDrop(Algorithm):
    """Randomly dropping quantization: Wei et al., QDrop, arXiv 2203.05740.

        x̂ = s·clip(round(x / s), n, p) with probability p, else x        (each element, while blocks are reconstructed)

    Deployable: yes, once it is done; nothing of the dropping is left in evaluation, and the grid is an ordinary one. A file that
    still draws random numbers was exported in training. MQBench writes the quantizer as Div, Round, Clip and Mul.
    """

    name = "QDrop"
    classes = r"QDrop(?!out)"
    parts = (("_drawn", "less(random_uniform_like(x), const)", "greater(random_uniform_like(x), const)", "less(fill_like(x), const)", "greater(fill_like(x), const)"),)
    forms = ("where(_drawn(y), q, x)",)


class LsqPlus(Algorithm):
    """LSQ with a learned offset of activations: Bhalgat et al., LSQ+, arXiv 2004.09576.

        x̂ = s·round(clip((x - β) / s, n, p)) + β        (s and β are learned; weights as in LSQ)

    Deployable: with asymmetric activations only, and not as trained: β need not be a multiple of s, and integer hardware has
    integer zero points -β / s. Rounding it moves every level by up to half a step, and real zero is a level only then.
    """

    name = "LSQ+"
    classes = r"LSQ_?P(?:lus|LUS)|LSQ_?p(?:lus)?|Lsq_?[Pp]lus|lsq_?plus"


class Lsq(Algorithm):
    """Learned step size: Esser et al., LSQ, arXiv 1902.08153.

        x̂ = s·round(clip(x / s, n, p)),   ∂L/∂s scaled by g = 1 / √(N·p)

    Deployable: yes, it is an ordinary uniform grid, symmetric for weights. Steps drift as they are trained: none is a power of two
    any more, and what was merged for an add or a concat no longer agrees. Activations from zero on are unsigned, which hardware
    that only has signed codes pays for with one bit. A step may have become negative; MQBench takes its magnitude.
    """

    name = "LSQ"
    classes = r"(?<![A-Z])LSQ|Lsq|(?:^|_)lsq|Learnable\w*FakeQuant|LearnedStepSize"
    parameters = (frozenset({"step_size"}),)
    forms = ("add(sub(s, (g := mul(s, const))), g)",)  # the step whose gradient is scaled


class Pact(Algorithm):
    """Activations clipped at a learned threshold: Choi et al., PACT, arXiv 1805.06085.

        y = 0.5·(|x| - |x - α| + α) = clip(x, 0, α),   x̂ = round(y·(2ᵏ - 1) / α)·α / (2ᵏ - 1)

    Deployable: yes, as an unsigned per-tensor grid with scale α / (2ᵏ - 1) behind a relu; α becomes the end of the range. Signed
    hardware loses one bit of it. Weights are quantized by DoReFa's scheme in the paper.
    """

    name = "PACT"
    classes = r"PACT|Pact|(?:^|_)pact"
    parameters = (frozenset({"n_alpha"}),)
    forms = ("mul(add(sub(abs(x), abs(sub(x, const))), const), 0.5)",)


class DoReFa(Algorithm):
    """Weights through tanh: Zhou et al., DoReFa-Net, arXiv 1606.06160.

        q(r) = round((2ᵏ - 1)·r) / (2ᵏ - 1),   ŵ = 2·q(tanh(w) / (2·max|tanh(w)|) + ½) - 1,   x̂ = q(clip(x, 0, 1))

    Deployable: once tanh and maximum are computed and the result is stored as the weight; compilers that expect a constant take
    neither. The levels of ŵ are the odd multiples of 1 / (2ᵏ - 1): there is no zero among them, so k bits with an integer zero
    point cannot hold them, and k + 1 bits can. MQBench quantizes tanh(w) / max|tanh(w)| symmetrically, which has a zero.
    """

    name = "DoReFa"
    classes = r"(?i:dorefa)"
    forms = ("div((t := tanh(x)), reduce_max(abs(t)))", "div((t := tanh(x)), mul(reduce_max(abs(t)), 2))", "div((t := tanh(x)), add(reduce_max(abs(t)), const))")
    companions = ("round(mul(clip(x, 0, 1), const))",)


class Qil(Algorithm):
    """Learned intervals: Jung et al., QIL, arXiv 1808.05779.

        ŵ = sign(w)·clip(α·|w| + β, 0, 1)^γ,   α = 0.5 / d,   β = -0.5·c / d + 0.5;   x̂ = clip(α·x + β, 0, 1);   both then rounded

    Deployable: the weights, once the transformer is computed and its result stored: their levels are evenly spaced. Not the
    activations: what is rounded is another number than the one that came in, small ones are pruned, and no scale and zero point
    say that; hardware would have to compute α·x + β in front of each quantizer. MQBench counts QIL as not deployable.
    """

    name = "QIL"
    classes = r"(?<![A-Z])QIL|(?:^|_)qil(?:_|$)|Qil(?![a-z])"
    parameters = (frozenset({"center", "distance"}),)
    parts = (("_stretched", "clip(add(mul(abs(x), const), const))"),)
    forms = ("mul(_stretched(x), sign(x))", "mul(pow(_stretched(x), const), sign(x))")
    companions = ("clip(add(mul(x, const), const), 0, 1)",)


class Apot(Algorithm):
    """Additive powers of two: Li et al., APoT, arXiv 1909.13144.

        levels = γ·{Σᵢ pᵢ},   pᵢ ∈ {0, 2⁻ⁱ, 2⁻⁽ⁱ⁺ⁿ⁾ …},   x̂ = α·nearest(levels, clip(x / α, -1, 1))

    Deployable: no. The levels are denser around zero; a product of two codes is a sum of shifts, for which multiply-accumulate
    units have no instruction. It has to be trained again on a uniform grid, or run in float.
    """

    name = "APoT"
    classes = r"APoT|APOT(?![A-Z]{2})|Apot(?![a-z])|(?:^|_)apot(?![a-z])"
    parts = (
        ("_distances", "abs(sub(unsqueeze(x), const))", "abs(sub(reshape(x), const))"),
        ("_nearest", "arg_min(_distances(x))", "reduce_min(_distances(x))"),
        ("_looked_up", "gather(const, _nearest(x))", "index(const, _nearest(x))", "gather_nd(const, unsqueeze(_nearest(x)))"),
    )
    forms = ("_looked_up(x)",)

    @staticmethod
    def levels(values: Levels) -> bool:
        """Unevenly spaced sums of up to three powers of two, in units of the smallest one."""
        terms = _terms(values)
        return max(terms, default=0) in (2, 3) and not _evenly(values)


class Logarithm(Algorithm):
    """Powers of two as levels: Miyashita et al., arXiv 1603.01025; HiSilicon's NNIE; INQ, ShiftCNN.

        x̂ = sign(x)·2^clip(round(log₂|x|), n, p)

    Deployable: only where the hardware computes with logarithms (NNIE has 16 codes to the octave). Weights alone are shifts, which
    no multiply-accumulate unit is faster at; int8 units run neither.
    """

    name = "logarithmic"
    classes = r"(?<![A-Z])NNIE|Log2?Quant|LogarithmicQuant"
    parts = (
        ("_logarithm", "log2(x)", "div(log(x), 0.6931472)", "mul(log(x), 1.442695)"),
        ("_exponent", "round(_logarithm(x))", "clip(round(_logarithm(x)))", "round(clip(_logarithm(x)))"),
        ("_power", "pow(2, _exponent(x))", "exp2(_exponent(x))"),
        ("_signed", "mul(sign(x), _power(y))"),
    )
    forms = ("_signed(x)", "_looked_up(x)")

    @staticmethod
    def levels(values: Levels) -> bool:
        """Every level is one power of two, in units of the smallest one."""
        return max(_terms(values), default=0) == 1 and not _evenly(values)


class Dsq(Algorithm):
    """Differentiable soft quantization: Gong et al., DSQ, arXiv 1908.05033.

        φ(x) = s·tanh(k·(x - mᵢ)) in the i-th step, mᵢ = l + (i + ½)·Δ,   x̂ = l + Δ·(i + (sgn(φ(x)) + 1) / 2)

    Deployable: yes, after the soft steps are replaced by rounding, which gives the same numbers: the levels are l + i·Δ, per tensor,
    and l must be a multiple of Δ for an integer zero point. As it is exported it is tanh and sign, which no compiler takes for a
    quantizer.
    """

    name = "DSQ"
    classes = r"(?<![A-Z])DSQ|(?:^|_)dsq|Dsq"
    forms = ("tanh(mul(k, sub(x, add(l, mul(add(floor(y), 0.5), d)))))", "tanh(mul(k, sub(sub(x, floor(x)), 0.5)))")


class Tqt(Algorithm):
    """Trained thresholds: Jain et al., TQT, arXiv 1903.08066.

        s = 2^⌈log₂ t⌉ / 2^(b-1) (2^b if unsigned),   x̂ = s·clip(round(x / s), n, p);   log₂ t is learned

    Deployable: yes, and it is what hardware that only shifts wants: power-of-two scales, symmetric, per tensor.
    """

    name = "TQT"
    classes = r"(?<![A-Z])TQT|(?:^|_)tqt|Tqt"
    parameters = (frozenset({"log2_t"}), frozenset({"log_threshold"}))
    parts = (("_up", "ceil(const)", "add(sub(ceil(const), const), const)"),)
    forms = ("pow(2, _up())", "exp2(_up())")


class AdaRound(Algorithm):
    """Learned rounding of weights, not final yet: Nagel et al., AdaRound, arXiv 2004.10568.

        ŵ = s·clip(⌊w / s⌋ + h(V), n, p),   h(V) = clip(1.2·σ(V) - 0.1, 0, 1)

    Deployable: once the rounding is final, h(V) is 0 or 1 and the result stored as the weight: an ordinary grid then. Before that
    weights lie between the levels, and whatever quantizes them rounds to the nearest, which is what AdaRound was to improve on.
    """

    name = "AdaRound"
    classes = r"(?i:adaround)"
    parts = (
        ("_soft", "sub(mul(sigmoid(v), const), const)", "add(mul(sigmoid(v), const), const)"),
        ("_limited", "clip(_soft(v), 0, 1)"),
    )
    forms = ("add(floor(x), _limited(v))",)


# Of several signs in one quantizer the first one counts: what is more special stands first.
ALGORITHMS: tuple[type[Algorithm], ...] = (QDrop, AdaRound, Tqt, Dsq, Qil, DoReFa, Pact, Apot, Logarithm, LsqPlus, Lsq)
TABLE: tuple[tuple[str, ...], ...] = (
    *dict.fromkeys(part for algorithm in ALGORITHMS for part in algorithm.parts),
    *((algorithm.name, *algorithm.forms) for algorithm in ALGORITHMS if algorithm.forms),
    *((f"{algorithm.name}?", *algorithm.companions) for algorithm in ALGORITHMS if algorithm.companions),
)


def _terms(levels: Levels) -> list[int]:
    """How many powers of two each level is the sum of, in units of the smallest one; nothing if one is no multiple of it."""
    sizes = sorted({abs(level) for level in levels if level})
    found = []
    for size in sizes:
        ratio = size / sizes[0]
        if not ratio < 1 << 24 or abs(ratio - round(ratio)) > 1e-3 * ratio:
            return []
        found.append(round(ratio).bit_count())
    return found


def _evenly(levels: Levels) -> bool:
    ordered = sorted(set(levels))
    steps = [b - a for a, b in pairwise(ordered)]
    return not steps or max(steps) - min(steps) <= 1e-3 * max(steps)
