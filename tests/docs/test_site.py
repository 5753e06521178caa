"""The site: it builds without a warning and without the network, and every rule, backend and notebook has its page."""

import re
from pathlib import Path

import pytest

from qlint.lint import registry
from qlint.profile import names

ROOT = Path(__file__).parents[2]

mkdocs = pytest.importorskip("mkdocs.commands.build")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from mkdocs.config import load_config

    folder = tmp_path_factory.mktemp("site")
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder))
    config.plugins.on_startup(command="build", dirty=False)
    mkdocs.build(config)  # strict: a warning, such as a link that leads nowhere, is an error
    return folder


def test_rules_backends_and_notebooks_have_their_pages(site):
    for name in [rule.name for rule in registry.load(plugins=False).rules]:
        page = (site / f"rules/{name}.html").read_text(encoding="utf-8")
        assert all(f'id="{section}"' in page for section in ("what-it-does", "why-it-matters-on-hardware", "example", "instead", "backends")), name
    assert {path.stem for path in (site / "backends").glob("*.html")} == {"index", *names()}
    notebooks = list((ROOT / "docs/notebooks").glob("*.ipynb"))
    assert len(notebooks) >= 3
    for path in notebooks:
        page = (site / f"notebooks/{path.stem}.html").read_text(encoding="utf-8")
        assert 'class="output"' in page and (site / f"notebooks/{path.name}").is_file()


def test_every_page_can_be_reached(site):
    index = (site / "rules/index.html").read_text(encoding="utf-8")
    assert all(f'href="{rule.name}.html"' in index for rule in registry.load(plugins=False).rules)
    assert all(f'href="{name}.html"' in (site / "backends/index.html").read_text(encoding="utf-8") for name in names())


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(https?:[^\"' >]+)", path.read_text(encoding="utf-8"))
        assert not loaded, f"{path.relative_to(site)}: {loaded}"
