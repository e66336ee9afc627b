"""The documentation page, made from the OpenAPI document once. No script and nothing from elsewhere: it works in a
sandboxed page, under any path and without the internet. All links are relative."""

from __future__ import annotations

from html import escape

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color:#1b1f24;background:#fff}
code{background:#f0f2f4;padding:.1em .3em;border-radius:3px}
section{border-top:1px solid #d5d9de;padding:.5rem 0}
td,th{text-align:left;padding:.15rem 1rem .15rem 0;vertical-align:top}
@media(prefers-color-scheme:dark){body{color:#e3e6ea;background:#15181c}code{background:#262b31}
section{border-color:#3a4048}a{color:#7db4ff}}
"""


def render(document: dict, examples: dict[str, str]) -> str:
    """`examples`: query string to show behind a path (`{"/similar": "?k=5"}`)."""
    sections = "".join(
        _section(path, operation, examples.get(path, ""))
        for path, operations in document["paths"].items()
        for operation in operations.values()
    )
    title = escape(document["info"]["title"])
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title}</h1>"
        f"<p>{escape(document['info']['description'])}</p>{sections}"
        f'<section><p>The same for programs: <a href="openapi.json">openapi.json</a></p></section></html>'
    )


def _section(path: str, operation: dict, query: str) -> str:
    link = escape(f"{path.lstrip('/')}{query}")
    answers = "".join(
        f"<tr><td>{escape(status)}<td>{escape(answer['description'])}"
        for status, answer in operation["responses"].items()
    )
    return (
        f'<section><h2><code>GET</code> <a href="{link}">{escape(path)}</a></h2>'
        f"<p>{escape(operation.get('description', ''))}</p>"
        f"{_parameters(operation.get('parameters', []))}<table><tr><th>status<th>when{answers}</table></section>"
    )


def _parameters(parameters: list[dict]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{escape(parameter.get('description', ''))}"
        for parameter in parameters
    )
    return f"<table><tr><th>parameter<th>meaning{rows}</table>"
