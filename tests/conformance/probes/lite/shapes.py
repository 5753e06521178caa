"""The corpus `tflite-shapes`: clean operators whose strides, windows, factors and axes are not the usual ones."""

from __future__ import annotations

from collections.abc import Iterator

from probes.probe import Probe

from .cases import CONV, DECONV, DEPTHWISE, POOL, Case, b, c, case, integer, ints, w, x
from .style import STYLES


def shapes(seed: int = 0) -> Iterator[Probe]:
    """The same for every seed."""
    for each in TABLE:
        for style in ("s8", "s16"):
            yield Probe(f"shapes/{each.key}/{style}", each.net(STYLES[style]).bytes(), None, {"op": each.key.split(":")[0], "style": style})


def _size(size: int, kernel: int, stride: int, same: bool, dilation: int = 1) -> int:
    return -(-size // stride) if same else (size - (kernel - 1) * dilation - 1) // stride + 1


def _conv(kernel: tuple[int, int], stride: tuple[int, int], same: bool, dilation: int = 1, image: tuple[int, int] = (16, 16)) -> Case:
    to = tuple(_size(*one, same, dilation) for one in zip(image, kernel, stride, strict=True))
    key = f"conv:{kernel[0]}x{kernel[1]}/{stride[0]}x{stride[1]}{'-same' if same else '-valid'}" + (f"-dilated{dilation}" if dilation > 1 else "")
    options = {"padding": "SAME" if same else "VALID", "strideH": stride[0], "strideW": stride[1], "dilationHFactor": dilation, "dilationWFactor": dilation}
    return case(key, "CONV_2D", x(1, *image, 4), w(6, *kernel, 4), b(6), to=(1, *to, 6), **{**CONV, **options})


def _depthwise(stride: int, same: bool, dilation: int = 1) -> Case:
    to = _size(16, 3, stride, same, dilation)
    key = f"depthwise:{stride}{'-same' if same else '-valid'}" + (f"-dilated{dilation}" if dilation > 1 else "")
    options = {"padding": "SAME" if same else "VALID", "strideH": stride, "strideW": stride, "dilationHFactor": dilation, "dilationWFactor": dilation}
    return case(key, "DEPTHWISE_CONV_2D", x(1, 16, 16, 4), w(1, 3, 3, 4), b(4), to=(1, to, to, 4), **{**DEPTHWISE, **options})


def _deconv(kernel: int, stride: tuple[int, int], same: bool, image: tuple[int, int] = (8, 8), rows: int = 0) -> Case:
    rows = rows or kernel
    to = tuple(size * s if same else size * s + max(k - s, 0) for size, s, k in zip(image, stride, (rows, kernel), strict=True))
    key = f"deconv:{rows}x{kernel}/{stride[0]}x{stride[1]}{'-same' if same else '-valid'}-{image[0]}"
    options = {"padding": "SAME" if same else "VALID", "strideH": stride[0], "strideW": stride[1]}
    return case(key, "TRANSPOSE_CONV", ints(1, *to, 6), w(6, rows, kernel, 4), x(1, *image, 4), b(6), to=(1, *to, 6), **{**DECONV, **options})


def _pool(kind: str, kernel: tuple[int, int], stride: int, same: bool, image: tuple[int, int] = (16, 16)) -> Case:
    to = tuple(_size(size, k, stride, same) for size, k in zip(image, kernel, strict=True))
    key = f"{kind.lower()}:{kernel[0]}x{kernel[1]}/{stride}{'-same' if same else '-valid'}"
    options = {"padding": "SAME" if same else "VALID", "strideH": stride, "strideW": stride, "filterHeight": kernel[0], "filterWidth": kernel[1]}
    return case(key, kind, x(1, *image, 4), to=(1, *to, 4), **{**POOL, **options})


def _resize(kind: str, image: tuple[int, int], to: tuple[int, int], **options: bool) -> Case:
    how = "".join(f"-{name[0]}" for name in options)
    return case(f"{kind.lower()}:{image[0]}x{image[1]}to{to[0]}x{to[1]}{how}", kind, x(1, *image, 4), ints(*to), to=(1, *to, 4), **options)


def _mean(shape: tuple[int, ...], axes: tuple[int, ...], keep: bool = True, kind: str = "MEAN") -> Case:
    kept = [1 if n in axes else size for n, size in enumerate(shape)]
    to = tuple(kept) if keep else tuple(size for n, size in enumerate(shape) if n not in axes)
    key = f"{kind.lower()}:{'x'.join(map(str, shape))}over{''.join(map(str, axes))}"
    return case(key, kind, x(*shape), ints(*axes), to=to, keepDims=keep)


def _transpose(shape: tuple[int, ...], order: tuple[int, ...]) -> Case:
    return case(f"transpose:{'x'.join(map(str, shape))}by{''.join(map(str, order))}", "TRANSPOSE", x(*shape), ints(*order), to=tuple(shape[n] for n in order))


def _table() -> Iterator[Case]:
    for same in (True, False):
        for stride in ((2, 2), (3, 3), (4, 4), (1, 4), (4, 1), (5, 5)):
            yield _conv((3, 3), stride, same)
        yield _conv((3, 3), (4, 4), same, dilation=2)
        yield _conv((3, 3), (2, 2), same, dilation=2)
        yield _conv((3, 3), (1, 1), same, dilation=3)
        yield _conv((11, 11), (1, 1), same)
        yield _conv((1, 70), (1, 1), same, image=(4, 80))
        yield _conv((70, 1), (1, 1), same, image=(80, 4))
        for stride in (2, 3, 4):
            yield _depthwise(stride, same)
        yield _depthwise(1, same, dilation=2)
        yield _depthwise(2, same, dilation=2)
        for stride in ((1, 1), (2, 2), (3, 3), (4, 4), (2, 1), (1, 2)):
            yield _deconv(3, stride, same)
        yield _deconv(3, (1, 2), same, image=(1, 8), rows=1)
        for kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            for kernel, stride in (((2, 2), 4), ((3, 3), 3), ((8, 8), 1), ((9, 9), 1), ((3, 9), 2), ((16, 16), 1)):
                yield _pool(kind, kernel, stride, same)
            yield _pool(kind, (260, 1), 1, same, image=(270, 2))
            yield _pool(kind, (1, 260), 1, same, image=(2, 270))
    for kind in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
        for image, to in (((8, 8), (16, 16)), ((8, 8), (32, 32)), ((8, 8), (64, 64)), ((8, 8), (24, 24)), ((8, 8), (8, 8)), ((8, 8), (16, 32)), ((1, 1), (7, 5)), ((8, 8), (4, 4)), ((8, 8), (13, 13)), ((1, 8), (1, 16))):
            yield _resize(kind, image, to)
        for image, to in (((8, 8), (15, 15)), ((8, 8), (29, 29)), ((8, 8), (16, 16))):
            yield _resize(kind, image, to, alignCorners=True)
        for image, to in (((8, 8), (16, 16)), ((8, 8), (32, 32)), ((8, 8), (24, 24))):
            yield _resize(kind, image, to, halfPixelCenters=True)
    for kind in ("MEAN", "SUM", "REDUCE_MAX"):
        for shape, axes in (((1, 8, 8, 4), (1, 2)), ((1, 8, 8, 4), (1,)), ((1, 8, 8, 4), (2,)), ((1, 8, 8, 4), (3,)), ((1, 8, 8, 4), (1, 2, 3)), ((1, 1, 8, 4), (3,)), ((1, 1, 8, 4), (2, 3)),
                            ((1, 8, 8, 1), (3,)), ((2, 8, 8, 4), (1, 2)), ((8, 4), (1,)), ((1, 8, 4), (1,)), ((1, 8, 4), (2,)), ((1, 8, 8, 4), (0,)), ((1, 64, 65, 4), (1, 2))):  # fmt: skip
            yield _mean(shape, axes, kind=kind)
    for shape, axis in (((1, 4, 4, 10), 3), ((1, 4, 4, 127), 3), ((1, 4, 4, 128), 3), ((1, 4, 4, 10), 1), ((1, 4, 4, 10), -1), ((2, 10), 0)):
        to = tuple(size for n, size in enumerate(shape) if n != axis % len(shape))
        yield case(f"arg_max:{'x'.join(map(str, shape))}over{axis}", "ARG_MAX", x(*shape), integer(axis), to=to, result="int32", outputType="INT32")
    for shape, order in (((1, 8, 8, 4), (0, 2, 1, 3)), ((1, 8, 8, 4), (0, 3, 1, 2)), ((1, 8, 8, 4), (3, 2, 1, 0)), ((2, 8, 8, 4), (0, 2, 1, 3)), ((2, 8, 8, 4), (1, 0, 2, 3)), ((8, 4), (1, 0)), ((2, 3, 4, 2, 4), (0, 4, 1, 2, 3))):
        yield _transpose(shape, order)
    for shape in ((2, 10), (1, 4, 4, 10), (1, 300, 300, 2), (4, 3, 5)):
        yield case(f"softmax:{'x'.join(map(str, shape))}", "SOFTMAX", x(*shape), beta=1.0, span=(0.0, 1.0))
    yield case("strided-slice:4", "STRIDED_SLICE", x(), ints(0, 0, 0, 0), ints(1, 8, 8, 4), ints(1, 1, 1, 2), to=(1, 8, 8, 2))
    yield case("strided-slice:reversed", "STRIDED_SLICE", x(), ints(0, 7, 0, 0), ints(1, -9, 8, 4), ints(1, -1, 1, 1), to=(1, 8, 8, 4))
    yield case("strided-slice:ends", "STRIDED_SLICE", x(), ints(0, 2, 2, 0), ints(1, 6, 6, 4), ints(1, 1, 1, 1), to=(1, 4, 4, 4))
    for shape in ((8,), (3, 8), (2, 3, 8), (1, 2, 2, 2, 3), (2, 1, 2, 2, 2, 3)):
        name = "x".join(map(str, shape))
        yield case(f"add:{name}", "ADD", x(*shape), x(*shape))
        yield case(f"concat:{name}", "CONCATENATION", x(*shape), x(*shape), to=(*shape[:-1], 2 * shape[-1]), axis=-1)
        yield case(f"relu:{name}", "RELU", x(*shape), span=(0.0, 2.4))
    yield case("add:batch", "ADD", x(3, 4, 4, 2), x(3, 4, 4, 2))
    yield case("mul:broadcast-both", "MUL", x(1, 8, 1, 4), x(1, 1, 8, 4), to=(1, 8, 8, 4))
    yield case("mul:scalar", "MUL", x(), c(1))
    yield case("matmul:batches", "BATCH_MATMUL", x(2, 3, 4, 6), x(2, 3, 6, 5), to=(2, 3, 4, 5))
    yield case("gather:axis0", "GATHER", x(4, 6), ints(1, 3), to=(2, 6), axis=0)
    yield case("gather:axis1", "GATHER", x(4, 6), ints(1, 3), to=(4, 2), axis=1)


TABLE: tuple[Case, ...] = tuple(_table())
