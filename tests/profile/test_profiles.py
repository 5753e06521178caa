"""Every profile loads, in every target and revision, and every claim has its evidence."""

import pytest

from qlint.errors import ProfileError
from qlint.judge.kernels import Kernels
from qlint.profile import load, names
from qlint.profile.load import read_raw
from qlint.profile.validate import claims


def everywhere():
    for name in names():
        profile = load(name)
        yield name
        for overlay in {*profile.targets, *profile.target, *profile.revision}:
            yield f"{name}@{overlay}"


@pytest.mark.parametrize("name", sorted(everywhere()))
def test_loads(name):
    profile = load(name)
    Kernels(profile)
    for _, claim in claims(profile):
        assert all(ref in profile.evidence for ref in claim.evidence)


@pytest.mark.parametrize("name", names())
def test_what_refuses_a_model_has_a_title(name):
    """It is the reason that a reader sees, whatever the target."""
    profile = load(name)
    every = [load(f"{name}@{overlay}") for overlay in {*profile.targets, *profile.target, *profile.revision}]
    refusing = [kernel for one in (profile, *every) for kernel in one.kernels if kernel.runs in ("refused", "rejected")]
    assert not [kernel.id for kernel in refusing if not kernel.title]


def test_a_user_profile_extends_and_overlays(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('id = "mine"\ntitle = "Mine"\nextends = "ort-cpu"\ndrop = ["concat"]\n', encoding="utf-8")
    mine, theirs = load(str(path)), load("ort-cpu")
    assert {k.id for k in theirs.kernels} - {k.id for k in mine.kernels} == {"concat"}
    assert read_raw(path)["extends"] == "ort-cpu"


def test_a_revision_may_start_with_nothing(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('id = "mine"\ntitle = "Mine"\nextends = "tensorrt"\n[revision.bare]\ndrop = ["*"]\n', encoding="utf-8")
    bare = load(f"{path}@bare")
    assert not [claim for _, claim in claims(bare)]
    assert [claim for _, claim in claims(load(str(path)))]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('id = "a"\ntitle = "A"\nextends = "nothing"\n', "unknown backend"),
        ('id = "a"\n', "title"),
        ('id = "a"\ntitle = "A"\n[[kernels]]\nid="k"\nmatch="conv"\nruns="integer"\nevidence="e"\n', "evidence"),
        ('id = "a"\ntitle = "A"\n[[kernels]]\nid="k"\nmatch="conv"\nports={x="q9"}\nruns="integer"\nevidence="e"\n[evidence.e]\nkind="inferred"\nref="x"\n', "q9"),
        ("id = ", "TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, says):
    path = tmp_path / "bad.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        load(str(path))
    assert says in str(error.value)
