"""Manual pages in roff (man macros): escaping, sections, and conversion from Markdown.

Independent of certctl; scripts/manual provides the content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARKDOWN = MarkdownIt("commonmark").enable("table")


def escape(text: str) -> str:
    """Return text escaped, so that roff shows it unchanged, with ASCII hyphens."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = (
        text.replace("'", "\\(aq").replace("`", "\\(ga").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    text = "".join(each if ord(each) < 128 else f"\\[u{ord(each):04X}]" for each in text)
    return re.sub(r"(?m)^\.", r"\\&.", text)


def bold(text: str) -> str:
    """Return escaped text in bold."""
    return f"\\fB{escape(text)}\\fR"


def italic(text: str) -> str:
    """Return escaped text in italics."""
    return f"\\fI{escape(text)}\\fR"


def prose(text: str) -> str:
    """Return plain text, with code between backticks, as the text of one roff paragraph."""
    parts = re.split(r"`([^`]+)`", " ".join(text.split()))
    return "".join(bold(part) if index % 2 else escape(part) for index, part in enumerate(parts))


def page(title: str, section: int, source: str, body: Iterable[str]) -> str:
    """Return a complete page; `source` is the program and its version."""
    heading = (
        f'.TH {escape(title.upper())} {section} "" "{escape(source)}" "{escape("certctl manual")}"'
    )
    return "\n".join([heading, ".nh", ".ad l", *body]) + "\n"


def section(title: str, body: Sequence[str]) -> list[str]:
    """Return a section, or nothing if its body is empty."""
    return [f".SH {escape(title)}", *_begun(body)] if body else []


def subsection(title: str, body: Sequence[str]) -> list[str]:
    """Return a subsection, or nothing if its body is empty."""
    return [f'.SS "{escape(title)}"', *_begun(body)] if body else []


def _begun(body: Sequence[str]) -> Sequence[str]:
    """Return a body without the paragraph break that its heading already makes."""
    return body[1:] if body[0] == ".PP" else body


def paragraph(text: str) -> list[str]:
    """Return a paragraph; `text` is roff."""
    return [".PP", text]


def tagged(tag: str, *paragraphs: str) -> list[str]:
    """Return a tag with its paragraphs below it; all are roff."""
    first, *others = [each for each in paragraphs if each] or ["\\&"]
    lines = [".TP", tag, first]
    for each in others:
        lines += [".IP", each]
    return lines


def example(lines: Iterable[str]) -> list[str]:
    """Return lines unchanged and indented."""
    return [".PP", ".RS 4", ".nf", *(escape(line) or "\\&" for line in lines), ".fi", ".RE"]


def markdown(text: str) -> list[str]:
    """Return a Markdown document in roff, without its title: sections, tables, lists, code.

    Raises ValueError for unsupported elements, such as images.
    """
    return _begin_after_headings(_blocks(_MARKDOWN.parse(text)))


def _begin_after_headings(lines: Sequence[str]) -> list[str]:
    before = ("", *lines)
    return [
        line
        for line, last in zip(lines, before, strict=False)
        if not (line == ".PP" and last.startswith((".SH", ".SS")))
    ]


def _blocks(tokens: Sequence[Token]) -> list[str]:
    lines: list[str] = []
    index = 0
    while index < len(tokens):
        end = _end(tokens, index)
        lines += _block(tokens[index], tokens[index + 1 : end])
        index = end + 1
    return lines


def _end(tokens: Sequence[Token], start: int) -> int:
    """Return the index of the token that closes the one at `start`."""
    if tokens[start].nesting == 0:
        return start
    level = 0
    for index in range(start, len(tokens)):
        level += tokens[index].nesting
        if level == 0:
            return index
    raise ValueError("a block is never closed")


def _block(token: Token, inside: Sequence[Token]) -> list[str]:
    match token.type:
        case "heading_open":
            return _heading(token.tag, _plain(inside[0]))
        case "paragraph_open":
            return paragraph(_inline(inside[0]))
        case "code_block" | "fence":
            return example(token.content.rstrip("\n").split("\n"))
        case "bullet_list_open" | "ordered_list_open":
            return _list(inside, numbered=token.type.startswith("ordered"))
        case "table_open":
            return _table(inside)
        case "html_block":
            return []
    raise ValueError(f"no roff for {token.type}")


def _heading(tag: str, title: str) -> list[str]:
    match tag:
        case "h1":
            return []
        case "h2":
            return [f".SH {escape(title.upper())}"]
    return [f'.SS "{escape(title)}"']


def _list(tokens: Sequence[Token], *, numbered: bool) -> list[str]:
    lines: list[str] = []
    index, number = 0, 0
    while index < len(tokens):
        end = _end(tokens, index)
        number += 1
        mark = f"{number}. 4" if numbered else "\\(bu 2"
        lines += [f".IP {mark}", *_begun(_blocks(tokens[index + 1 : end]))]
        index = end + 1
    return lines


def _table(tokens: Sequence[Token]) -> list[str]:
    """Return a table as a tagged list, because its columns rarely fit on a screen."""
    header, *rows = _rows(tokens)
    titles = [_plain(each) for each in header]
    lines: list[str] = []
    for row in rows:
        cells = [(title, _inline(cell)) for title, cell in zip(titles, row, strict=True)]
        tag, others = cells[0][1], [(title, text) for title, text in cells[1:] if text]
        if len(titles) == 2:
            lines += tagged(tag, *(text for _, text in others))
        else:
            meaning = [text for title, text in others if title == "meaning"]
            facts = [f"{escape(title)}: {text}" for title, text in others if title != "meaning"]
            lines += tagged(tag, *meaning, "; ".join(facts))
    return lines


def _rows(tokens: Sequence[Token]) -> list[list[Token]]:
    rows: list[list[Token]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(token)
    return rows


def _inline(token: Token) -> str:
    """Return inline text as roff; a link becomes its text, followed by its URL if external."""
    parts: list[str] = []
    target = ""
    for child in token.children or []:
        match child.type:
            case "text":
                parts.append(escape(child.content))
            case "code_inline":
                parts.append(bold(child.content))
            case "softbreak" | "hardbreak":
                parts.append("\n")
            case "strong_open":
                parts.append("\\fB")
            case "em_open":
                parts.append("\\fI")
            case "strong_close" | "em_close":
                parts.append("\\fR")
            case "link_open":
                target = str(child.attrGet("href") or "")
            case "link_close":
                parts.append(f" <{escape(target)}>" if "://" in target else "")
            case _:
                raise ValueError(f"no roff for {child.type}")
    return re.sub(r"(?m)^([.'])", r"\\&\1", "".join(parts))


def _plain(token: Token) -> str:
    return "".join(each.content for each in token.children or [])
