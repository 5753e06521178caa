"""TorchScript files made to hurt: read or refused in a sentence, quickly, and nothing in them runs."""

import io
import pickle
import random
import struct
import time
import zipfile

import pytest

from qlint.errors import QlintError, ReadError
from qlint.passes import canonical
from qlint.readers import read

SECONDS = 20  # of processor time, for one file
CODE = """class M(Module):
  __parameters__ = ["w", ]
  __buffers__ = []
  w : Tensor
  training : bool
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    w = self.w
    y = torch.conv2d(x, w, None, [1, 1], [1, 1], [1, 1], 1)
    if torch.gt(torch.dim(x), 3):
      z = torch.relu_(y)
    else:
      z = torch.add(y, 1)
    n = torch.size(z, 0)
    for i in range(n):
      z = torch.mul(z, CONSTANTS.c0)
    return torch.quantize_per_tensor(z, 0.5, 3, 13)
"""


def storage(key, cls="FloatStorage", size=8):
    """`BINPERSID` of a storage."""
    return (
        b"(X\x07\x00\x00\x00storagectorch\n" + cls.encode() + b"\nX" + struct.pack("<I", len(key)) + key.encode() + b"X\x03\x00\x00\x00cpuK" + bytes([size]) + b"tQ"
    )


def tensor(key, shape=b"(K\x02K\x01K\x02K\x02t", strides=b"(K\x04K\x04K\x02K\x01t", size=8):
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(key, size=size) + b"K\x00" + shape + strides + b"\x89ccollections\nOrderedDict\n)RtR"


def module(attributes=b"", cls=b"M"):
    weight = b"X\x01\x00\x00\x00w" + tensor("0")
    return b"\x80\x02c__torch__\n" + cls + b"\n)\x81}(" + weight + b"X\x08\x00\x00\x00training\x89" + attributes + b"ub."


CONSTANTS = b"\x80\x02" + tensor("0", b")", b")", 1) + b"\x85."


def archive(path, code=CODE, data=None, constants=CONSTANTS, compression=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("m/data.pkl", module() if data is None else data)
        file.writestr("m/code/__torch__.py", code)
        file.writestr("m/constants.pkl", constants)
        file.writestr("m/version", "3\n")
        file.writestr("m/data/0", bytes(32))
        file.writestr("m/constants/0", bytes(4))
        for name, content in members.items():
            file.writestr(f"m/{name.replace('__', '/')}", content)
    return path


def survives(path):
    """Read, or refused: the sentence then. Anything else is raised."""
    start = time.process_time()
    try:
        model = canonical(read(path))
        for t in model.tensors.values():
            if t.data is not None:
                t.data.values()
    except QlintError as error:
        assert error.message and error.hint is not None
        return error.message
    finally:
        assert time.process_time() - start < SECONDS
    return ""


def method(body, name="forward", arguments="x: Tensor"):
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    return f"class M(Module):\n  __parameters__ = []\n  __buffers__ = []\n  def {name}(self: __torch__.M,\n    {arguments}) -> Tensor:\n{lines}\n"


def test_the_file_itself_is_read(tmp_path):
    model = read(archive(tmp_path / "m.pt"))
    assert [op.kind for op in model.nodes if op.kind in ("conv", "if", "loop", "quantize")] == ["conv", "if", "loop", "quantize"]
    assert survives(tmp_path / "m.pt") == ""


# -- damage -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_flipped_bytes(tmp_path, compression):
    whole = archive(tmp_path / "m.pt", compression=compression).read_bytes()
    dice = random.Random(7)
    for _ in range(300):
        raw = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            raw[dice.randrange(len(raw))] = dice.randrange(256)
        (tmp_path / "broken.pt").write_bytes(raw)
        survives(tmp_path / "broken.pt")


def test_every_length(tmp_path):
    whole = archive(tmp_path / "m.pt", compression=zipfile.ZIP_STORED).read_bytes()
    for size in range(4, len(whole), 13):
        (tmp_path / "broken.pt").write_bytes(whole[:size])
        assert survives(tmp_path / "broken.pt")


def test_mutated_pickles(tmp_path):
    dice = random.Random(11)
    for number in range(400):
        raw = bytearray(module())
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(raw))
            if dice.random() < 0.3:
                del raw[at : at + dice.randint(1, 5)]
            else:
                raw[at] = dice.randrange(256)
        survives(archive(tmp_path / f"m{number % 2}.pt", data=bytes(raw)))


def test_mutated_code(tmp_path):
    dice = random.Random(13)
    words = CODE.split(" ")
    for _ in range(400):
        mixed = list(words)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(mixed))
            mixed[at] = dice.choice([*words, "None", "-1", "[]", "(x)", "self", "'a'", "1e400", "x,", "torch.cat", "=", ""])
        survives(archive(tmp_path / "m.pt", code=" ".join(mixed)))


# -- pickles ----------------------------------------------------------------------------------------------


def test_nothing_is_executed(tmp_path):
    class Bad:
        def __reduce__(self):
            import os

            return os.system, (f"touch {tmp_path}/owned",)

    for protocol in range(5):
        said = survives(archive(tmp_path / "m.pt", data=pickle.dumps(Bad(), protocol)))
        assert "system" in said or protocol < 2
    said = survives(archive(tmp_path / "m.pt", data=module(b"X\x01\x00\x00\x00vcbuiltins\neval\nX\x05\x00\x00\x0012345\x85R")))
    assert said == "refers to 'builtins.eval' in its pickle, data.pkl, which no TorchScript model does; it was not executed"
    assert not (tmp_path / "owned").exists()


def test_saving_while_loading_does_nothing(tmp_path):
    """`torch.jit.load` runs `__setstate__`; here it is followed, and no operator of it runs."""
    code = method("return torch.relu(x)") + method(f"torch.save(state, '{tmp_path}/owned')\nops.prim.Print('owned')\nreturn None", "__setstate__", "state: Tensor").split("\n", 3)[3]
    data = b"\x80\x02c__torch__\nM\n)\x81" + tensor("0") + b"b."
    survives(archive(tmp_path / "m.pt", code=code, data=data))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        (b"]q\x00h\x00a", ""),  # a list in itself
        (b"r\xff\xff\xff\x7f", None),  # a place in the memo far away
        (b"\x8a\xff" + b"\x01" * 255, "an integer of 255 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "the opcode 0x8e"),
        (b"X\xff\xff\xff\x7f", "truncated"),
        (b"(" * 50_000, None),
        (b")" + b"\x85" * 50_000, ""),  # a tuple in a tuple in a tuple
        (b"}" + b"}sq\x01h\x01" * 3, None),
    ],
    ids=["cyclic", "memo", "integer", "opcode", "length", "marks", "nested", "keys"],
)
def test_pickles_that_grow(tmp_path, attribute, says):
    said = survives(archive(tmp_path / "m.pt", data=module(b"X\x01\x00\x00\x00v" + attribute)))
    assert says is None or says in said


def test_cyclic_modules(tmp_path):
    data = b"\x80\x02c__torch__\nM\n)\x81q\x00}(X\x01\x00\x00\x00wh\x00X\x01\x00\x00\x00vh\x00ub."
    assert survives(archive(tmp_path / "m.pt", code=method("return (self.v).forward(x)"), data=data)) == "has calls nested more than 60 deep"
    assert survives(archive(tmp_path / "m.pt", code=method("return [self, x]"), data=data)) in ("", "returns structures nested more than 32 deep")


def test_tensors_beyond_their_storage(tmp_path):
    for shape, strides in ((b"(K\xffK\xffK\xffK\xfft", b"(K\xffK\xffK\xffK\x01t"), (b"(K\x02K\x01K\x02J\xff\xff\xff\x7ft", b"(K\x00K\x00K\x00K\x00t")):
        data = b"\x80\x02c__torch__\nM\n)\x81}(X\x01\x00\x00\x00w" + tensor("0", shape, strides) + b"ub."
        assert "of a storage of 32" in survives(archive(tmp_path / "m.pt", data=data))


# -- archives ---------------------------------------------------------------------------------------------


def test_bombs(tmp_path):
    zeros = zipfile.ZipInfo("m/code/__torch__.py")
    with zipfile.ZipFile(archive(tmp_path / "m.pt"), "a", zipfile.ZIP_DEFLATED) as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr(zeros, bytes(300 << 20), zipfile.ZIP_DEFLATED)
    assert "source file of 300 MiB" in survives(tmp_path / "m.pt")
    buffer = io.BytesIO()
    archive(buffer, data=bytes(300 << 20))
    (tmp_path / "m.pt").write_bytes(buffer.getvalue())
    assert "more than 256 MiB of code and pickles" in survives(tmp_path / "m.pt")
    raw = buffer.getvalue()
    lying = raw.replace(struct.pack("<I", 300 << 20), struct.pack("<I", 64))
    (tmp_path / "m.pt").write_bytes(lying)
    assert "does not inflate to the 64 bytes" in survives(tmp_path / "m.pt")


def test_many_members(tmp_path):
    with zipfile.ZipFile(archive(tmp_path / "m.pt"), "a") as file:
        for number in range(20_000):
            file.writestr(f"m/data/{number + 1}", b"")
    assert survives(tmp_path / "m.pt") == ""


# -- code -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return (self).forward(x)", "nested more than 60 deep"),
        ("y = " + "torch.relu(" * 150 + "x" + ")" * 150 + "\nreturn y", ""),
        ("y = " + "(" * 5000 + "x" + ")" * 5000 + "\nreturn y", "cannot be parsed"),
        ("y = x" + ".a" * 20_000 + "\nreturn y", None),
        ("y = " + "-" * 30_000 + "1\nreturn x", None),
        ("n = 9999999999999999999999999999999\nreturn x", "an integer of more than 64 bits"),
        ("n = 3\n" + "n = torch.mul(n, n)\n" * 200 + "return x", None),
        ("n = [1]\n" + "n = torch.add(n, n)\n" * 60 + "return x", None),
        ("n = 'ab'\n" + "n = torch.add(n, n)\n" * 60 + "return x", None),
        ("for i in range(256):\n  for j in range(256):\n    for k in range(256):\n      y = torch.relu(x)\nreturn y", "more than 100000 operators"),
        ("for i in range(256):\n  for j in range(256):\n    for k in range(256):\n      y = 1\nreturn x", "steps to follow"),
        ("y = x\nwhile True:\n  y = torch.relu(y)\nreturn y", None),
        ("y = x\nfor i in range(9223372036854775807):\n  y = torch.relu(y)\nreturn y", ""),
        ("ops.prim.RaiseException('')\nreturn x", "always raises an error when it runs"),
        ("import os\nreturn x", "a statement that TorchScript does not write, Import"),
        ("return __import__('os')", "calls '__import__', which nothing defines"),
        ("return (lambda: x)()", "an expression that TorchScript does not write, Lambda"),
        ("return [y for y in x]", "an expression that TorchScript does not write, ListComp"),
        ("return torch.sub(q, 1)", "uses the name 'q', which nothing defines"),
        ("return self.__class__", "reads the attribute '__class__'"),
        ("a, b = x\nreturn torch.add(a, b)", ""),
        ("l = annotate(List[Tensor], [])\nfor i in range(torch.size(x, 0)):\n  _ = torch.append(l, x)\nreturn torch.cat(l, 0)", ""),
    ],
)
def test_code(tmp_path, body, says):
    said = survives(archive(tmp_path / "m.pt", code=method(body)))
    assert says is None or (says in said if says else not said)


def test_nothing_is_said_on_the_way(tmp_path, recwarn):
    """Python warns about `1if`; that is nobody's business who checks a model."""
    survives(archive(tmp_path / "m.pt", code=method("return x if 1else x")))
    assert not recwarn.list


def test_functions_that_double(tmp_path):
    """Each calls the next one twice: 2 to the 40th operators."""
    functions = "".join(f"def f{i}(x: Tensor) -> Tensor:\n  return __torch__.f{i + 1}(__torch__.f{i + 1}(x, ), )\n" for i in range(40))
    code = functions + "def f40(x: Tensor) -> Tensor:\n  return torch.relu(x)\n" + method("return __torch__.f0(x, )")
    assert "more than 100000 operators" in survives(archive(tmp_path / "m.pt", code=code))


def test_without_code(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.ptl", "w") as file:
        file.writestr("m/data.pkl", module())
        file.writestr("m/constants.pkl", CONSTANTS)
        file.writestr("m/bytecode.pkl", b"\x80\x02K\x05\x85.")
    with pytest.raises(ReadError, match="lite-interpreter file with bytecode only") as refused:
        read(tmp_path / "m.ptl")
    assert refused.value.hint == "check the TorchScript file or the module that it was made from"


def test_big_endian(tmp_path):
    assert survives(archive(tmp_path / "m.pt", byteorder="big")) == "was written on a big-endian machine"
