"""The TFLite reader against the schema and the object API of LiteRT, over real files and over every table of the schema."""

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tflite_against import DEPRECATED, NUMBERS, OURS, camel, compare_model, compare_tables
from tflite_build import File, conv_network, options

from qlint.readers import read

ZOO = Path(__file__).parents[1] / "zoo"
FILES = sorted(path.relative_to(ZOO).as_posix() for path in ZOO.rglob("*.tflite"))
TABLES = [name for name in OURS.tables if name != "ReduceWindowOptions"]


# -- the schema ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*OURS.enums, *OURS.unions])
def test_enums_and_unions_are_those_of_litert(name):
    theirs = {member: value for member, value in vars(getattr(schema, name)).items() if not member.startswith("_")}
    ours = NUMBERS[name] if name in OURS.enums else {member: value for value, member in enumerate(OURS.unions[name])}
    deprecated = {"REDUCE_WINDOW", "ReduceWindowOptions"} & (set(ours) - set(theirs))
    assert {member: value for member, value in ours.items() if member not in deprecated} == theirs


def test_no_table_of_litert_is_missing():
    theirs = {name.removesuffix("T") for name in vars(schema) if name.endswith("T") and hasattr(getattr(schema, name), "Pack")}
    assert theirs == set(OURS.tables)


@pytest.mark.parametrize("name", TABLES)
def test_fields_and_defaults_are_those_of_litert(name):
    theirs = vars(getattr(schema, name + "T")())
    fields = [one for one in OURS.tables[name] if one[0] not in DEPRECATED]
    assert [camel(field) for field, *_ in fields] == list(theirs)
    for field, kind, *default in fields:
        value = NUMBERS.get(kind, {}).get(default[0], default[0]) if default else None
        assert value == theirs[camel(field)] and type(value) is type(theirs[camel(field)]), field


# -- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_every_table_of_a_real_file(name):
    flat = compare_tables(ZOO / name)
    assert flat.left > 0.9 * 8 * flat.size  # what is read costs what it weighs


@pytest.mark.parametrize("name", FILES)
def test_every_operator_and_tensor_of_a_real_file(name):
    compare_model(read(ZOO / name), (ZOO / name).read_bytes())


def values(kind, rng):
    """A value of a field that is none of the defaults."""
    one = kind.strip("[]")
    if kind[0] == "[":
        return [values(one, rng) for _ in range(3)]
    if kind in OURS.enums:
        return max(OURS.enums[kind])
    if kind == "string":
        return "text"
    return {"bool": True, "float": 0.5, "double": 0.25}.get(kind) or int(rng.integers(2, 100))


CALLING = [name for name in OURS.tables if name.endswith("Options") and any("subgraph" in field or field == "called_computations" for field, *_ in OURS.tables[name])]


@pytest.mark.parametrize("name", [name for union in ("BuiltinOptions", "BuiltinOptions2") for name in OURS.unions[union][1:] if name not in CALLING])
def test_every_field_of_every_option(tmp_path, name):
    """Once all defaults, once no default; the operator is any, options do not depend on it."""
    if name == "ReduceWindowOptions" and not hasattr(schema, "ReduceWindowOptionsT"):
        pytest.skip("LiteRT has dropped it")
    rng = np.random.default_rng(len(name))
    file = File()
    g = file.graph()
    x, y = g.tensor("x", [1, 2, 2, 1], "FLOAT32"), g.tensor("y", [1, 2, 2, 1], "FLOAT32")
    g.op("CUSTOM", [x], [y], options(name), custom="all-defaults")
    given = {camel(field): values(kind, rng) for field, kind, *_ in OURS.tables[name] if field not in DEPRECATED and kind != "[ubyte]"}
    given |= {camel(field): np.arange(5, dtype=np.uint8) for field, kind, *_ in OURS.tables[name] if kind == "[ubyte]"}
    g.op("CUSTOM", [y], [g.tensor("z", [1, 2, 2, 1], "FLOAT32")], options(name, **given), custom="no-default")
    path = file.save(tmp_path / "m.tflite")
    compare_tables(path)
    compare_model(read(path), path.read_bytes())


@pytest.mark.parametrize("name", [name for name in NUMBERS["BuiltinOperator"] if name not in ("CUSTOM", "PLACEHOLDER_FOR_GREATER_OP_CODES")])
def test_every_operator_without_options_and_with_any_number_of_inputs(tmp_path, name):
    file = File()
    g = file.graph()
    ts = [g.tensor(f"t{i}", [2, 2], "FLOAT32") for i in range(50)]
    for count in (0, 1, 2, 3, 4, 5, 24, 40):
        g.op(name, ts[:count], [ts[49 - count]])
    path = file.save(tmp_path / "m.tflite")
    model = read(path)
    compare_model(model, path.read_bytes())
    assert all(len(op.uses) == count for op, count in zip(model.nodes, (0, 1, 2, 3, 4, 5, 24, 40), strict=True))


def test_a_network_that_is_built(tmp_path):
    path = conv_network().save(tmp_path / "m.tflite")
    compare_tables(path)
    compare_model(read(path), path.read_bytes())
