"""What Jupyter's other front ends, VS Code and Colab among them, ask of the code of a widget.

They load `_esm` and `_css` alone, from no address, into a page that is not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from varco_nats_widgets import _ui

STATIC = Path(_ui.__file__).with_name("static")
SCRIPTS = sorted(STATIC.glob("*.js"))
SHEETS = sorted(STATIC.glob("*.css"))
OF_THE_PAGE = {
    "activeElement": "the focus goes back to where it was",
    "addEventListener": "nothing is drawn while the page is hidden",
    "body": "the theme changes there; what is copied without a clipboard stands there meanwhile",
    "createElement": "",
    "createElementNS": "",
    "createTextNode": "",
    "execCommand": "copies where there is no clipboard",
    "head": "style sheets of a theme are loaded there",
    "hidden": "nothing is drawn while the page is hidden",
    "removeEventListener": "what was added is taken away",
}
"""What a script may use of the document outside of its element, and why."""
FORBIDDEN = (
    r"^\s*import\b",
    r"\bimport\(",
    r"\brequire\(",
    r"\bfetch\(",
    r"\bXMLHttpRequest\b",
    r"\bimportScripts\b",
    r"\bnew (URL|Worker|SharedWorker|WebSocket|EventSource)\(",
    r"""["'`](/|\./|\.\./)[\w./-]+\.\w""",  # paths
    r"\bcustomElements\b",
    r"\badoptedStyleSheets\b",
    r"""createElement\(["'](style|link|script)""",
    r"\b(window|globalThis)\.\w+ = ",
    r"\b(eval|Function)\(",
)
NAMESPACE = "http://www.w3.org/2000/svg"


def without_comments(text: str) -> str:
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    return re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)


def selectors(css: str) -> Iterator[str]:
    """Those of a style sheet, also within `@media`; not the steps of `@keyframes`."""
    css = re.sub(r"@keyframes [^{]+\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}", "", css)
    css = re.sub(r"@(?:media|container|supports)[^{]*\{", "", css)
    for found in re.finditer(r"([^{};]+)\{", css):
        depth = 0
        selector = ""
        for letter in found[1].strip(" \n\t}"):
            depth += (letter == "(") - (letter == ")")
            if letter == "," and not depth:
                yield selector.strip()
                selector = ""
            else:
                selector += letter
        yield selector.strip()


def problems_of_sheet(css: str) -> list[str]:
    css = without_comments(css)
    animations = re.findall(r"@keyframes ([\w-]+)", css)
    return [
        *(found for found in re.findall(r"@(?:import|font-face|namespace|layer)\b", css)),
        *(found for found in re.findall(r"url\((?!\s*[\"']?data:)[^)]*\)", css)),
        *(name for name in animations if not name.startswith("varco")),
        *(selector for selector in selectors(css) if not re.search(r"\.varco\b", selector)),
    ]


def problems_of_script(script: str) -> list[str]:
    script = without_comments(script)
    addresses = re.findall(r"""["'`](\w+://[^"'`\s]*)""", script)
    used = set(re.findall(r"\bdocument\.(\w+)", script))
    return [
        *(found[0] for rule in FORBIDDEN for found in re.finditer(rule, script, re.MULTILINE)),
        *(address for address in addresses if address != NAMESPACE),
        *sorted(used - OF_THE_PAGE.keys()),
    ]


@pytest.mark.parametrize("path", SHEETS, ids=lambda path: path.name)
def test_a_style_sheet_styles_what_is_ours_and_loads_nothing(path: Path) -> None:
    css = path.read_text()
    assert problems_of_sheet(css) == []
    assert len(list(selectors(without_comments(css)))) > 2


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_whole_and_stays_within_its_element(path: Path) -> None:
    script = path.read_text()
    assert problems_of_script(script) == []
    exported = re.findall(r"^export .*?[;}]", script, re.MULTILINE | re.DOTALL)
    assert len(exported) == 1, "render, and nothing else"
    assert "default" in exported[0]


@pytest.mark.parametrize(
    "css",
    [
        "table { color: red }",
        ".varco a, b { color: red }",
        "@media print { body { color: red } }",
        "@import 'other.css';",
        ".varco { background: url(/static/image.png) }",
        "@keyframes spin { from { left: 0 } to { left: 1px } }",
        ".varco-a:is(.b, .c) { left: 0 } td, .varco { left: 0 }",
    ],
)
def test_what_a_style_sheet_must_not_do_is_seen(css: str) -> None:
    assert len(problems_of_sheet(css)) == 1


@pytest.mark.parametrize(
    "script",
    [
        'import * as d3 from "d3";',
        'const other = await import("other.js");',
        'fetch("data");',
        'const source = "/static/picture.png";',
        'const source = "https://example.com";',
        'document.querySelector(".jp-Notebook");',
        'document.createElement("style");',
        "window.varco = 1;",
    ],
)
def test_what_a_script_must_not_do_is_seen(script: str) -> None:
    assert len(problems_of_script(script)) == 1


def test_what_both_may_do_is_not_refused() -> None:
    assert (
        problems_of_sheet(".varco:is(.a, b) td { left: 0 } /* td {} */ .varco-b { top: 0 }") == []
    )
    assert problems_of_script(f'// import x\nel.querySelector("a"); make("{NAMESPACE}");') == []


def test_a_widget_holds_its_code_as_text() -> None:
    """A path or an address would have the front end fetch it."""
    from varco_nats_widgets._ui import message_view, parts, views

    classes = [
        found
        for module in (message_view, parts, views)
        for found in vars(module).values()
        if isinstance(found, type) and "_esm" in vars(found)
    ]
    assert len(classes) >= 5
    for widget in classes:
        assert isinstance(vars(widget)["_esm"], str)
        assert "export" in vars(widget)["_esm"]
        assert "{" in vars(widget)["_css"]
