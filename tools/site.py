"""What mkdocs does for the site beyond Markdown: rules and backends in the navigation, and notebooks as pages."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

Item = dict[str, Any]


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill the tabs of pages that are many: rules by category, backends, notebooks."""
    docs = Path(config.docs_dir)
    index = (docs / "rules/index.md").read_text(encoding="utf-8").partition("## By consequence")[0]
    by_category = [
        {category: [{name: f"rules/{name}.md"} for name in dict.fromkeys(re.findall(r"\[([a-z-]+[a-z0-9-]*)\]\(\1\.md\)", table))]}
        for category, table in re.findall(r"^### (.+)\n((?:.*\n)+?)(?=^### |\Z)", index, re.MULTILINE)
    ]
    backends = [{path.stem: f"backends/{path.name}"} for path in sorted((docs / "backends").glob("*.md")) if path.stem != "index"]
    notebooks = [{_title(path): f"notebooks/{path.stem}.md"} for path in sorted((docs / "notebooks").glob("*.ipynb"))]
    for tab, more in (("Rules", by_category), ("Backends", backends), ("Notebooks", notebooks)):
        for item in config.nav or ():
            if tab in item:
                item[tab] = [*(item[tab] if isinstance(item[tab], list) else [item[tab]]), *more]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook."""
    for path in sorted((Path(config.docs_dir) / "notebooks").glob("*.ipynb")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page(path)))
    return files


def page(path: Path) -> str:
    """A notebook as Markdown: its text, its code, and what running it showed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = [f'<p><a href="{path.name}" download>{path.name}</a></p>']
    for cell in cells:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.insert(len(parts) if parts[1:] else 0, source)  # the title before the link
        elif cell["cell_type"] == "code":
            parts += [f"```python\n{source}\n```", *map(_shown, cell["outputs"])]
    return "\n\n".join(parts) + "\n"


def _shown(output: Item) -> str:
    """The richest form of an output. A table or a picture stands in the page as it is."""
    data = output.get("data", {})
    if "image/png" in data:
        return f'<img alt="" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    if "text/html" in data:
        lines = "".join(data["text/html"]).splitlines()
        return f"<div class=\"output\">{' '.join(line.strip() for line in lines)}</div>"
    text = "".join(output.get("text") or data.get("text/plain") or output.get("traceback") or "")
    return f"<pre><code>{escape(text.rstrip())}</code></pre>" if text.strip() else ""


def _title(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"]).partition("\n")[0].lstrip("# ")
