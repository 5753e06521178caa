"""Finding and loading profiles: by name, alias or path, with `extends`, targets and revisions applied."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qlint.errors import ProfileError
from qlint.profile.schema import Profile

ENTRY_POINTS = "qlint.profiles"
_CLAIMS = ("refuses", "prepare", "kernels")
_WHOLE = ("checks", "partition", "segments", "segments_evidence", "bodies", "bodies_evidence", "arithmetic")  # claims without an id: dropped with all the others
_TABLES = ("spaces", "classes", "evidence", "arithmetic", "target", "revision")


def load(name: str) -> Profile:
    """The profile called `name`: `ID`, `ID@TARGET`, `ID@REVISION`, an alias of one, or a path to a TOML file.

    Raises:
        ProfileError: there is no such profile, target or revision, or the file is not valid.
    """
    base, *overlays = name.split("@")
    raw = _resolve(base, seen=())
    targets = [str(t) for t in raw.get("targets", ())]
    chosen: list[str] = []
    for overlay in overlays or [o for o in [str(raw.get("default_target", ""))] if o]:
        known = {**raw.get("target", {}), **raw.get("revision", {})}
        if overlay not in known and overlay not in targets:
            raise ProfileError(
                f"no target or revision {overlay!r}",
                subject=base,
                hint=_suggest(overlay, [*targets, *known]) or "it has neither targets nor revisions",
            )
        for each in _likes(overlay, known, base):
            raw = _overlay(raw, {key: value for key, value in known.get(each, {}).items() if key != "like"})
        chosen.append(overlay)
    raw["target_name"] = "@".join(chosen)
    for table in ("target", "revision"):
        raw[table] = {name: _whole(overlay, raw) for name, overlay in raw.get(table, {}).items()}
    return _validate(raw, name)


def _likes(overlay: str, known: dict[str, Any], subject: str) -> list[str]:
    """An overlay and those that it is like, the most basic first."""
    chain = [overlay]
    while like := known.get(chain[0], {}).get("like", ""):
        if like not in known or like in chain:
            raise ProfileError(f"{chain[0]!r} is like {like!r}, which is no other target or revision", subject=subject, hint=_suggest(like, known))
        chain.insert(0, like)
    return chain


def from_data(raw: dict[str, Any], subject: str) -> Profile:
    """The profile in the data of a TOML file that extends no other.

    Raises:
        ProfileError: the data are no profile; `subject` is what the error is about.
    """
    return _validate(_overlay({}, raw), subject)


def names() -> list[str]:
    """Ids of the profiles that come with qlint or with an installed plugin, sorted."""
    return sorted(_files())


def read_raw(path: Path) -> dict[str, Any]:
    """The TOML file as it stands, before inheritance."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot be read ({error})", subject=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"is not valid TOML: {error}", subject=str(path)) from error


@lru_cache
def _files() -> dict[str, Path]:
    folder = resources.files("qlint.profiles")
    found = {item.name.removesuffix(".toml"): Path(str(item)) for item in folder.iterdir() if item.name.endswith(".toml")}
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        module = point.load()
        for path in Path(str(resources.files(module.__name__))).glob("*.toml"):
            found.setdefault(path.stem, path)
    return found


def _path(name: str) -> Path:
    if name.endswith(".toml") or "/" in name:
        return Path(name)
    folder = Path(str(resources.files("qlint.profiles")))
    direct = folder / f"{name}.toml"
    if name and direct.is_file():  # the common case reads no other file and no package metadata
        return direct
    files = _files()
    if name in files:
        return files[name]
    aliases = {alias: path for path in files.values() for alias in read_raw(path).get("aliases", ())}
    if name in aliases:
        return aliases[name]
    raise ProfileError(
        f"unknown backend {name!r}",
        hint=_suggest(name, [*files, *aliases]) + " · `qlint backend` lists them; a path to a .toml file works too",
    )


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    """The raw profile with everything it extends merged below it."""
    path = _path(name)
    raw = read_raw(path)
    parent = raw.get("extends", "")
    if not parent:
        return _overlay({}, raw)
    if parent in seen:
        raise ProfileError(f"extends itself through {' → '.join([*seen, parent])}", subject=str(path))
    if "/" not in parent and (path.parent / f"{parent}.toml").is_file():
        parent = str(path.parent / f"{parent}.toml")
    base = _resolve(parent, (*seen, name, raw["extends"]))
    of_the_base = ("target", "revision") if "targets" in raw else ()  # who has targets of its own has none of another backend
    for inherited in ("aliases", "target_name", "notes", *of_the_base):
        base.pop(inherited, None)
    return _overlay(base, raw)


def _overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    """`top` over `base`: tables are merged by key, claims by id, everything else is replaced."""
    dropped = set(top.get("drop", ()))
    base = {k: v for k, v in base.items() if "*" not in dropped or k not in _WHOLE}
    merged = {**base, **{k: v for k, v in top.items() if k not in _CLAIMS and k not in _TABLES}}
    for table in _TABLES:
        if table in base or table in top:
            merged[table] = {**base.get(table, {}), **top.get(table, {})}
    merged.pop("drop", None)
    for claims in _CLAIMS:
        kept = {claim.get("id", f"?{i}"): claim for i, claim in enumerate(base.get(claims, ())) if dropped.isdisjoint(("*", claim.get("id")))}
        merged[claims] = list(_merge_claims(kept, top.get(claims, ())))
    return merged


def _merge_claims(kept: dict[str, Any], new: Iterable[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    claims = dict(kept)
    seen: set[str] = set()
    for claim in new:
        whole = _inherit(claim, claims)
        at = whole.get("before", "")
        ident = whole.get("id", f"?{len(claims)}")
        if ident in seen:
            raise ProfileError(f"the id {ident!r} stands twice", hint="a claim replaces the inherited one of the same id")
        seen.add(ident)
        if ident in claims or at not in claims:
            claims[ident] = whole
        else:
            claims = {
                key: value
                for old, kernel in claims.items()
                for key, value in ([(ident, whole), (old, kernel)] if old == at else [(old, kernel)])
            }
    return claims.values()


def _whole(overlay: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """An overlay whose claims say everything that they inherit, from the profile or from one above in the overlay."""
    whole = dict(overlay)
    for claims in _CLAIMS:
        known = {claim.get("id"): claim for claim in raw.get(claims, ())}
        for claim in overlay.get(claims, ()):
            known[claim.get("id")] = _inherit(claim, known)
        if claims in overlay:
            whole[claims] = [known[claim.get("id")] for claim in overlay[claims]]
    return whole


def _inherit(claim: dict[str, Any], claims: dict[str, Any]) -> dict[str, Any]:
    """`like = "id"`: what the claim does not say itself is taken from the one it is like."""
    like = claim.get("like")
    if not like:
        return claim
    if like not in claims:
        raise ProfileError(
            f"{claim.get('id')!r} is like {like!r}, which does not stand above it", hint=_suggest(like, claims)
        )
    inherited = {k: v for k, v in claims[like].items() if k not in ("before", "title", "like")}
    ports = {**inherited.get("ports", {}), **claim.get("ports", {})}
    return {**inherited, **claim, **({"ports": ports} if ports else {})}


def _validate(raw: dict[str, Any], subject: str) -> Profile:
    from qlint.profile.validate import problems

    try:
        profile = Profile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise ProfileError(
            f"{where}: {first['msg']}, found {first['input']!r}{more}", subject=subject, hint="`qlint backend schema` has all fields"
        ) from error
    if found := problems(profile):
        raise ProfileError(found[0] + (f" (and {len(found) - 1} more)" if found[1:] else ""), subject=subject)
    return profile


def _suggest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"there are {', '.join(sorted(known))}" if known else ""
