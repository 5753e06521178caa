"""The profile schema: one backend as data. Frozen, validated, published as JSON Schema.

A profile lists the kernels that a backend has. What each field means is written where it stands;
`qlint backend schema` prints the JSON Schema made from these classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# `unknown`: what decides is not in the file, or nobody has found out.
Runs = Literal["integer", "float", "cpu", "rejected", "refused", "absorbed", "unknown"]
# Where a kernel reads and writes tensors, on accelerators with tightly coupled memory (TCM): see judge/memory.py.
Memory = Literal[
    "either", "alike", "alike-tiled", "second", "second-tiled", "either-to-main", "prefers-tcm", "prefers-tcm-to-main", "tcm", "strict-tcm",
    "tiled", "strict-tiled", "stacked", "tiles", "main", "main-sliced", "main-to-tcm", "any-to-main", "any-to-tcm",
]  # fmt: skip
Otherwise = Literal["cpu", "float", "rejected", "refused", "wrong", "slow", "note", "unknown"]
EvidenceKind = Literal["measured", "source", "documented", "inferred"]
# Strongest first: an op's basis is the weakest evidence that its placement rests on.
EVIDENCE_STRENGTH: tuple[EvidenceKind, ...] = ("measured", "source", "documented", "inferred")


def _tuple_of_names(value: object) -> object:
    """`"a|b"` and `["a", "b"]` are the same."""
    return [part.strip() for part in value.split("|")] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple_of_names, json_schema_input_type=str | tuple[str, ...])]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Evidence(_Data):
    """Who says so. A measured claim names the probes of the ledger that show it (a glob)."""

    kind: EvidenceKind
    ref: str
    version: str = ""
    date: str = ""
    note: str = ""


class Space(_Data):
    """What a port accepts. Every field that is given must hold; a parameter field implies `quantized`."""

    absent: bool = False  # the op does not have this input
    quantized: bool | None = None
    partly: bool | None = None  # of an output: some of its readers quantize it, others take it as it is
    constant: bool | None = None
    initializer: bool | None = None  # a constant, or one that is an input's default: some optimizers compute with what a caller may replace
    dtype: Names = ()  # of the float tensor behind the quantizer, or of an unquantized one
    prequantized: bool | None = None  # a constant that the file stores as integers: no node quantizes it
    stored: bool | None = None  # the op itself reads or writes the integers; no node that quantizes or dequantizes stands between
    written: Names = ()  # where the grid stands: operator (it reads or writes the integers itself), nodes (around it), fake-quant
    storage: Names = ()  # container: int8, uint8, int4 ...
    bits: tuple[int, ...] = ()  # of the grid, which may be smaller than its container
    granularity: Names = ()  # tensor, channel, block
    axis: Literal["out", "in"] | int | None = None  # of a per-channel quantizer, in the op's own terms; where it has none, by number
    axis_from_end: bool | None = None  # the axis of the scales is written as a negative number (some optimizers compare the number)
    scales: Literal["out", "enough"] | None = None  # a per-channel quantizer has as many scales as there are output channels, or at least as many
    block_size: tuple[int, ...] = ()
    zero_point_given: bool | None = None  # written out, not left to the default
    zero_point: Literal["zero", "nonzero", "qmin", "mid", "byte"] | tuple[int, ...] | None = None
    scale: Literal["nonzero", "positive", "power-of-two", "constant"] | tuple[float, ...] | None = None
    scale_shape: Literal["scalar", "vector"] | None = None
    integers: Names = ()  # how integers between operators were declared (see judge/integers.py): grid, plain; known, lost
    rewritten: bool | None = None  # a prepare step changed the container
    inherited: bool | None = None  # a prepare step put the quantizer there, behind data movement
    own_scale: bool | None = None  # no other node of the file uses an equal float constant (some optimizers share them)
    writers: int | None = None  # quantize nodes behind an output, after merging those that share their parameters
    dequantizers: int | None = None  # dequantize nodes with parameters of their own that give an input's tensor on the same grid
    symmetric: bool | None = None
    dynamic: bool | None = None  # the scale is computed at run time


def _alternatives(value: object) -> object:
    if isinstance(value, str):
        return [part.strip() for part in value.split("|")]
    return value if isinstance(value, (list, tuple)) else [value]


# A port's requirement: names of spaces and inline spaces, any of which will do.
Requirement = Annotated[tuple[str | Space, ...], BeforeValidator(_alternatives, json_schema_input_type=str | Space | tuple[str | Space, ...])]
Ports = dict[str, Requirement]


class DtypeTuples(_Data):
    """Containers that only go together: `allow = [["uint8", "uint8|int8"], ["int8", "int8"]]`."""

    ports: tuple[str, ...]
    allow: tuple[tuple[str, ...], ...]


class Bounds(_Data):
    """An inclusive range; an end that is left out is open. `multiple`: of which number a dimension has to be a multiple."""

    min: float | None = None
    max: float | None = None
    multiple: int | None = None


class Interval(_Data):
    """From the least to the largest number of a port's grid, where a tensor of this container is made or read by all of these kinds."""

    port: str
    storage: Names
    beside: Names
    min: float


class Shift(_Data):
    """By how many bits the result of a product is shifted to get to another grid: log2(scale(of) / product of scale(over))."""

    of: str
    over: tuple[str, ...]
    min: float | None = None
    max: float | None = None


class Multiplier(_Data):
    """By what a result is multiplied to get to another grid: product of scale(over) / scale(of). `below` is the first one that is too large."""

    of: str
    over: tuple[str, ...]
    min: float | None = None
    below: float | None = None


class Factors(_Data):
    """By how much an operator enlarges an image in each direction; what stays as it is, or was one pixel, is let pass."""

    allow: tuple[float, ...]
    alike: bool = False  # the same in every direction, but for those of one pixel


class Guard(_Data):
    """Relations between ports and facts of the op; a closed set. All fields that are given must hold."""

    absorbed: Literal["zero_point", "range", "first_range", "no"] | None = None  # the clamps in the chain vanish into y's grid, or do not
    bias_scale: float | None = None  # scale(b) == scale(x) * scale(w), relative tolerance
    shift: Shift | None = None  # requantization by shifting, within what the shifter can do
    multiplier: Multiplier | None = None  # requantization by a factor, within what the kernel takes
    same: tuple[str, ...] = ()  # equal quantizers
    close: tuple[str, ...] = ()  # equal quantizers, to a thousandth of their scales
    near: tuple[str, ...] = ()  # equal first zero points, and first scales that are 1e-6 apart at most, whatever their size
    same_scale: tuple[str, ...] = ()  # equal first scales, whatever the zero points and the other channels
    same_storage: tuple[str, ...] = ()
    dtypes: DtypeTuples | None = None
    one_channel: tuple[str, ...] = ()  # at most one of these ports is per channel; the first one is to blame
    attrs: dict[str, tuple[int | float | str | None, ...]] = {}  # of the anchor; "absent": not given
    op_attrs: dict[str, dict[str, tuple[int | float | str | None, ...]]] = {}  # of another op of the chain, by kind
    gapless: bool | None = None  # windows of a pool, or of a convolution, leave nothing out between them (or do): strides are at most the kernel
    within: dict[str, Bounds] = {}  # every number of an attribute of the anchor, or one of them: `steps.-1`
    factors: Factors | None = None  # of a resize
    factors_kept: bool | None = None  # those of a resize that are 1 still are (and else: are not) once they are quantized
    native: Names = ()
    not_native: Names = ()
    op_native: dict[str, Names] = {}  # of another op of the chain, by kind
    static: bool | None = None  # no symbolic dimension on any port
    known_shapes: bool | None = None  # no port of unknown rank
    readers: dict[str, Bounds] = {}  # readers of a port's tensor that see the same quantizer
    uses: dict[str, Bounds] = {}  # all readers of a port's tensor
    merged_uses: dict[str, Bounds] = {}  # all readers of what a port's tensor is computed to, here or by another op that computes the same
    rank: dict[str, Bounds] = {}
    dims: dict[str, dict[str, Bounds]] = {}  # port -> dimension index (as a string) -> bounds
    last_and_other_axes: bool | None = None  # a reduction is over the last axis together with others
    values: dict[str, Bounds] = {}  # all numbers of a constant that the file stores as integers
    inputs: Bounds | None = None  # number of inputs of the anchor
    opset: Bounds | None = None
    present: tuple[str, ...] = ()  # roles that the op must have
    enters: dict[str, Names] = {}  # kind of another op of the chain -> the roles at which the chain may continue there
    fused: bool | None = None  # the ops behind the anchor are (or are not) part of its node in the file
    output: bool | None = None  # y is (or is not) a graph output
    produced_by: dict[str, Names] = {}  # kind of the op that produces a port's tensor
    read_by: dict[str, Names] = {}  # some reader of a port's tensor is of these kinds, or reads it at a role: `matmul.lhs`
    edges: dict[str, Bounds] = {}  # that leave a port's tensor: one for each node that quantizes it, and for each reader without one
    vanishing: bool | None = None  # among the readers of y is (or is not) a clamp that vanishes into the quantizer behind it, the only one there
    quantized_behind: dict[str, Names] = {}  # some reader of a port's tensor is of these kinds and has a quantizer behind it
    scale_shape_equal: tuple[str, ...] = ()
    finer: tuple[str | float, str] | None = None  # steps of the first port (or this step) are at most twice those of the second one
    innermost_axes: bool | None = None  # a reduction is over the last axes, and no other
    interval: Interval | None = None
    joined: Literal["last", "other"] | None = None  # x was concatenated along the last axis, or along another one
    one_stays: bool | None = None  # a transpose of the chain leaves (or does not) a dimension of one where it is
    repeats: bool | None = None  # an element-wise op repeats an input along some axis, or does not
    layout: dict[str, Literal["channels first", "channels last"]] = {}  # of a port's tensor; convs of PyTorch's engines leave channels last
    pair_sum: Literal["shown", "possible"] | None = None  # pairs of products fit into `pair_bits`; misses if the file shows that they do not, or if it cannot tell


class Check(_Data):
    """What must also hold once a kernel is selected, and what happens otherwise. The first failing one decides."""

    ports: Ports = {}
    guards: tuple[Guard, ...] = ()
    otherwise: Otherwise
    units: bool = False  # of those that hold for every kernel: only for units
    kinds: Names = ()  # only for chains that begin with an op of these kinds
    evidence: Names = ()
    since: str = ""
    until: str = ""


class When(_Data):
    """Conditions that some node of the graph meets, all of them."""

    native: Names = ()
    not_native: Names = ()
    domain: Names = ()
    not_domain: Names = ()
    unknown_attrs: bool | None = None
    unknown_op: bool | None = None  # not in the specification of its domain
    later_op: bool | None = None  # in the specification of a later opset than the file's
    opset: Bounds | None = None
    missing_inputs: bool | None = None
    per_channel_below_opset: int | None = None
    zero_scale: bool | None = None
    type_mismatch: bool | None = None  # a quantizer node whose input, zero point and output types do not fit
    scale_length: bool | None = None  # a per-channel scale that is not as long as its axis
    scale_rank: bool | None = None  # a per-channel scale that is no vector
    format: Names = ()
    guards: tuple[Guard, ...] = ()
    ports: Ports = {}
    kinds: Names = ()


class Kernel(_Data):
    """What the backend executes as one unit.

    `match` is a pattern of kinds (`conv act?`); `ports` and `guards` decide whether it is selected;
    `checks` are what must also hold afterwards.
    """

    id: str
    title: str = ""
    like: str = ""
    before: str = ""  # where an inheriting profile inserts it
    match: str
    ports: Ports = {}
    guards: tuple[Guard, ...] = ()
    unless: tuple[When, ...] = ()  # an op of the graph that meets one of these keeps the kernel from being selected, wherever it is
    runs: Runs
    unit: bool | None = None  # quantizers at its ports are part of it; default: if it runs in integer. Matters to `partition`
    memory: Memory = "either"  # matters where `misplaced` is refused
    checks: tuple[Check, ...] = ()
    advise: bool = True  # may explain why another op is not in integer
    note: str = ""  # shown with ops that run here, e.g. "quantizes on the fly"
    evidence: Names


class Refusal(_Data):
    """The backend does not load the model at all."""

    id: str
    like: str = ""
    when: When
    unless: tuple[When, ...] = ()  # any other op that meets one of these spares the model
    because: str
    evidence: Names


class Prepare(_Data):
    """One step that the backend takes on the quantizers before it selects kernels; traced, in file order."""

    id: str
    # defaults: parameters that a caller may replace are taken for constants; dead: readers that lead nowhere are no readers
    # handed-on: behind `kinds` stays the grid in front, if that has a scale per channel and the first of them is the one behind
    step: Literal["defaults", "remove", "strip", "dead", "series", "transparent", "handed-on", "storage"]
    storage: Names = ()  # strip: quantizers of activations with these containers are removed
    how: Literal["intersect", "first", "last", "keep"] = "keep"  # series
    # strip: kinds behind which removing one in front of a graph output makes the model invalid; `input`: a graph input, `output`: what is a graph output already
    breaks_behind: Names = ()
    kinds: Names = ()  # remove (where they do nothing), transparent, handed-on
    but_for: Names = ()  # handed-on: readers that see the grid behind all the same
    aligns: Names = ()  # transparent: containers whose operands are brought onto one grid, if their scales are different
    modules: Names = ()  # only of a network in which there is a module of one of these classes
    forward: bool = False
    backward: bool = False
    writers: int | None = None  # transparent, backward: quantize nodes behind, after merging those that share their parameters
    from_: str = Field("", alias="from")  # storage
    to: str = ""
    readers: int | None = None
    breaks_inserted_from: int | None = None  # storage: from this opset on, rewriting a pair inserted forward makes the model invalid
    because: str = ""  # what a message says: "two quantizers in series were merged"
    evidence: Names


class DeclaredOnce(_Data):
    """A partition has one tensor for each input of the model, whatever it is read as: the model is refused if that is a float and integers."""

    because: str
    evidence: Names


class Partition(_Data):
    """How a backend cuts what it takes out of a graph, where that can go wrong.

    `waves`: the DequantizeLinear of a constant is taken by itself if its reader is in no unit. Two of them and nothing
    that depends on the input make a partition without inputs: the model is refused.
    `groups`: units that share a dequantize are cut out together, and a path out of them and back makes that impossible
    (see judge/groups.py): the model is refused.
    `inputs`: whether a partition that reads an input in two ways is refused.
    """

    how: Literal["waves", "groups"] = "waves"
    constants: Requirement = ()  # waves: of which constants the DequantizeLinear is taken
    because: str
    evidence: Names
    inputs: DeclaredOnce | None = None


class Arithmetic(_Data):
    """How the backend computes: for rules about accumulators, requantization and rounding."""

    accumulator_bits: int | None = None
    accumulator_bits_16: int | None = None  # with activations of more than 8 bits; not known unless it is said
    pair_bits: int | None = None  # neighbouring products are added in so many bits first, and cut off there (see judge/accumulator.py)
    requantize: Literal["float", "fixed_multiplier", "shift"] | None = None
    shift: Bounds | None = None  # by how many bits to the right: the exponent of scale(y) / (scale(x) * scale(w)); beyond that results are lost
    rounding: Literal["half_even", "half_away", "half_up", "floor"] | None = None
    saturates: bool | None = None  # the result is clamped to its container; otherwise it wraps around
    evidence: Names = ()


class Overlay(_Data):
    """A target or revision: a change on the profile. Claims are replaced by id, dropped by `drop` (`"*"`: all of them)."""

    title: str = ""
    like: str = ""  # another overlay of the profile, applied before this one
    toolchain: str = ""
    encodings: tuple[str, ...] = ()
    fallback: Literal["cpu", "float", "none"] | None = None
    misplaced: Literal["moved", "refused"] | None = None
    segments: Literal["any", "one"] | None = None
    drop: tuple[str, ...] = ()
    world: Literal["closed", "open"] | None = None
    conversion: Literal["assumed", "unknown"] | None = None
    notes: tuple[str, ...] = ()
    spaces: dict[str, Requirement] = {}
    refuses: tuple[Refusal, ...] = ()
    prepare: tuple[Prepare, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    checks: tuple[Check, ...] = ()
    evidence: dict[str, Evidence] = {}
    arithmetic: Arithmetic | None = None


def _known_kinds(value: str) -> str:
    if value != value.lower():
        raise ValueError("ids are lower case")
    return value


class Profile(_Data):
    """One backend: refusals, prepare steps, kernels, fallback, arithmetic; with evidence for each claim."""

    id: Annotated[str, AfterValidator(_known_kinds)]
    title: str
    vendor: str = ""
    aliases: tuple[str, ...] = ()
    extends: str = ""
    ingests: tuple[str, ...] = ()
    converts: tuple[str, ...] = ()  # formats that its own importer turns into one of those: judged as converted, which is no assumption
    encodings: tuple[str, ...] = ()  # whose encodings files tell the backend its quantizers beside the model: aimet, tensorrt, vitis ...
    toolchain: str = ""
    targets: tuple[str, ...] = ()
    default_target: str = ""
    target_name: str = ""  # the target or revision in force, filled in by the loader
    fallback: Literal["cpu", "float", "none"] = "float"
    fallback_evidence: Names = ()
    misplaced: Literal["moved", "refused"] = "moved"  # a tensor in another memory than the compiler had planned
    misplaced_evidence: Names = ()
    segments: Literal["any", "one"] = "any"  # one: behind an operator that left the accelerator nothing comes back to it
    segments_evidence: Names = ()
    bodies: Literal["taken", "left"] = "taken"  # left: what is in the branches and loops of control flow stays outside
    bodies_evidence: Names = ()
    world: Literal["closed", "open"] = "closed"
    # Of a file in another format: judged as if it were converted faithfully, or not at all. `unknown` where kernels are chosen by
    # how their own format spells operators and stores integers: what a converter makes of that decides.
    conversion: Literal["assumed", "unknown"] = "assumed"
    notes: tuple[str, ...] = ()
    classes: dict[str, str] = {}
    spaces: dict[str, Requirement] = {}
    refuses: tuple[Refusal, ...] = ()
    prepare: tuple[Prepare, ...] = ()
    kernels: tuple[Kernel, ...] = ()
    checks: tuple[Check, ...] = ()  # what must hold of every op, whatever kernel takes it, before that kernel's own
    partition: Partition | None = None
    arithmetic: Arithmetic | None = None
    evidence: dict[str, Evidence] = {}
    drop: tuple[str, ...] = ()
    target: dict[str, Overlay] = {}
    revision: dict[str, Overlay] = {}

    def cited(self, names: Iterable[str]) -> tuple[Evidence, ...]:
        """Pieces of evidence by their names."""
        return tuple(self.evidence[name] for name in names)

    @property
    def name(self) -> str:
        """`qnn-htp@v73`: what reports print and `--backend` takes."""
        return f"{self.id}@{self.target_name}" if self.target_name else self.id
