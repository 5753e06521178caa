"""What a file is, told from its content and never from its name; what cannot be read is refused in a sentence."""

from __future__ import annotations

import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qlint.errors import ReadError

if TYPE_CHECKING:
    from qlint.readers.torch_archive import Archive

HEAD = 512
_LATER = "this version of qlint reads ONNX, TFLite, TorchScript, torch.export archives and OpenVINO IR"
_EXPORT = "export the network to ONNX, for example with torch.onnx.export"
_TRACE = "load it where it was made and save the network with torch.onnx.export, torch.export.save or torch.jit.trace(...).save"
MAX_NAMES = 10_000  # of a pickle that are looked at

# (offset, magic bytes, the format)
_READ: tuple[tuple[int, bytes, str], ...] = ((4, b"TFL3", "tflite"),)
# (offset, magic bytes, what it is, what to do)
_MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"version https://git-lfs.github.com/spec/v1", "is a Git LFS pointer, the model itself was not fetched", "run `git lfs pull`"),
    (4, b"ET12", "is an ExecuTorch program, already lowered for a device", "check the model before it is lowered"),
    (4, b"ORTM", "is an ONNX Runtime format (.ort) model", "check the .onnx file that it was made from"),
    (0, b"GGUF", "is a GGUF file: weights for llama.cpp, without a graph", _EXPORT),
    (0, b"\x89HDF\r\n", "is an HDF5 file: Keras weights or a Keras model", "export it to ONNX, for example with tf2onnx"),
    (0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "is a PyTorch checkpoint of the format before 1.6: weights, no graph", _TRACE),
    *((0, bytes((0x80, protocol)), "is a Python pickle, which qlint never executes", _TRACE) for protocol in (2, 3, 4, 5)),
    (0, b"\x93NUMPY", "is a numpy array, not a model", ""),
    (0, b"ptrt", "is a TensorRT engine, already compiled", "check the ONNX file that it was built from"),
    (0, b"ftrt", "is a TensorRT engine, already compiled", "check the ONNX file that it was built from"),
    (0, b"7767517\n", "is an ncnn .param file", "check the ONNX file that it was converted from"),
    (0, b"\x1f\x8b", "is gzip-compressed", "decompress it first"),
    (257, b"ustar", "is a tar archive", "unpack it first"),
)
# How texts start, in small letters and without leading blanks.
_TEXTS: tuple[tuple[bytes, str, str], ...] = (
    (b"<!doctype html", "is an HTML page: the download went wrong", "download the model again"),
    (b"<html", "is an HTML page: the download went wrong", "download the model again"),
    (b"<?xml", "is XML, and no OpenVINO IR", _LATER),
    (b"{", "is JSON, not a model", "name an ONNX, TFLite, PyTorch or OpenVINO file; encodings go with a model: qlint check MODEL --encodings FILE"),
    (b"", "is text, not a model", _LATER),
)
# Members of zip archives that make a format, tried in order: (name ends with, format)
_FORMATS: tuple[tuple[str, str], ...] = (("archive_format", "pt2"), ("serialized_exported_program.json", "pt2"), ("constants.pkl", "torchscript"))
# Other members of zip archives, tried in order: (name ends with, what it is, what to do)
_MEMBERS: tuple[tuple[str, str, str], ...] = (
    ("model.json", "is a TorchScript archive of PyTorch 1.0", "load and save it again with PyTorch 1.4 to 1.13"),
    ("model.dlc", "is a Qualcomm DLC, already converted", "check the model that it was converted from"),
    ("keras_metadata.pb", "is a Keras model", "export it to ONNX, for example with tf2onnx"),
    ("config.json", "is a Keras archive", "export it to ONNX, for example with tf2onnx"),
    (".npy", "is a numpy archive (.npz), not a model", ""),
)


def sniff(path: Path) -> tuple[str, Path | Archive]:
    """The format of a model file, a key of `qlint.readers.READERS`, and what to read: the file, or the archive that it is.

    Raises:
        ReadError: there is no such file, or it is nothing that qlint reads; the hint says what to do.
    """
    subject = str(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise ReadError("is a folder, not a model file", subject=subject, hint="name the model file inside it")
        if not stat.S_ISREG(mode):
            raise ReadError("is not a regular file", subject=subject, hint="write the model to a file first")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        raise ReadError("there is no such file", subject=subject, hint="check the path") from error
    except (OSError, ValueError) as error:
        raise ReadError(f"cannot be read: {getattr(error, 'strerror', None) or error}", subject=subject, hint="check the path and its permissions") from error
    if not head:
        raise ReadError("is empty", subject=subject, hint="the export or the download did not finish")
    for offset, magic, known in _READ:
        if head[offset : offset + len(magic)] == magic:
            return known, path
    for offset, magic, what, hint in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            raise ReadError(what, subject=subject, hint=hint)
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        raise ReadError("is a safetensors file: weights without a graph", subject=subject, hint=_EXPORT)
    if _is_ir(head):
        return "openvino", path
    if _is_text(head):
        what, hint = next((what, hint) for start, what, hint in _TEXTS if head.lstrip().lower().startswith(start))
        raise ReadError(what, subject=subject, hint=hint)
    if not any(head):
        raise ReadError("holds only zeros, at least at its start", subject=subject, hint="the export or the download did not finish")
    if head[0] == 0x0A and any(name in head for name in (b"Placeholder", b"Const")):
        raise ReadError("is a TensorFlow GraphDef", subject=subject, hint="export it to ONNX, for example with tf2onnx")
    if not _looks_like_onnx(head):
        raise ReadError("is of a format that qlint does not know, not a model", subject=subject, hint=_LATER)
    return "onnx", path


def _zip(path: Path) -> tuple[str, Archive]:
    from qlint.readers.torch_archive import Archive

    try:
        archive = Archive(path)
    except ReadError as error:
        error.subject = str(path)
        raise
    members = archive.members
    endings = {name.rpartition("/")[2] for name in members}
    for ending, form in _FORMATS:
        if ending in endings:
            return form, archive
    if "data.pkl" in members:
        raise _checkpoint(archive)
    for ending, what, hint in _MEMBERS:
        if any(name.endswith(ending) for name in members):
            raise ReadError(what, subject=str(path), hint=hint)
    raise ReadError("is a zip archive without a model that qlint knows", subject=str(path), hint=_LATER)


def _checkpoint(archive: Archive) -> ReadError:
    """What `torch.save` wrote, told from the names that its pickle refers to; nothing is unpickled."""
    from qlint.readers.unpickle import allowed, names_in

    subject = str(archive.path)
    names = list(islice(names_in(archive.read("data.pkl")), MAX_NAMES))
    foreign = [name for name in names if not allowed(name) and not name.startswith("_codecs.")]
    if any("fx.graph_module" in name for name in foreign):
        return ReadError("is a pickled FX GraphModule: Python code, which qlint never executes", subject=subject, hint=_TRACE)
    if foreign:
        module = next((name for name in foreign if not name.startswith(("torch.", "collections.", "builtins.", "numpy."))), foreign[0])
        return ReadError(f"is a pickled Python object, of the class {module}: its network is code that is not in the file", subject=subject, hint=_TRACE)
    return ReadError("is a PyTorch checkpoint: weights without a graph", subject=subject, hint=_TRACE)


def _is_ir(head: bytes) -> bool:
    """XML whose first element, or one of the first, is a `net` with layers or a version."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    return start.startswith((b"<?xml", b"<net")) and b"<net" in head


def _is_text(head: bytes) -> bool:
    return all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head[:64])


def _looks_like_onnx(head: bytes) -> bool:
    """A ModelProto starts with one of its own fields, of the wire type that this field has."""
    known = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
    key = head[0]
    if head[0] & 128:
        key = head[0] & 127 | (head[1] & 127) << 7 if len(head) > 1 else 0
    number, wire = key >> 3, key & 7
    if known.get(number) != wire:
        return False
    return not (number == 1 and len(head) > 1 and not 0 < head[1] < 64)  # ir_version is a small number
