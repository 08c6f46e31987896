"""The dependency topology as a picture (SVG): who feeds the product through which topic, and who reads it.

Kinds of dependency are told apart by line and word, not by colour alone. The critical path, facts to canonical
record, is drawn thick.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from atp.contracts.schemas import consumed
from atp.topics import AVAILABILITY, CATALOGUE, Role, Topic

ROW, TOP, WIDTH = 46, 96, 1180
COLUMNS = (20, 250, 560, 800, 1030)  # writers, inputs, the product, published, readers
STYLES = {  # dash, width, words
    Role.FACT: ("", 4, "hard: without it the number is wrong (critical path)"),
    Role.CONTROL: ("10 5", 2, "control: rules, places, signs of life"),
    Role.TRUTH: ("2 4", 2, "truth: what the number is checked against"),
    Role.SOFT: ("2 8", 1, "soft: enrichment, never an input of core ATP"),
    Role.PUBLISHED: ("", 2, "published"),
}


def picture() -> str:
    """The SVG document."""
    inputs = [topic for topic in CATALOGUE if consumed(topic)]
    outputs = [topic for topic in CATALOGUE if topic.role is Role.PUBLISHED]
    height = TOP + ROW * max(len(inputs), len(outputs)) + 30 + 24 * len(STYLES)
    middle = TOP + ROW * len(inputs) // 2
    parts = [_head(height), *_legend(TOP + ROW * len(inputs) + 30)]
    parts += [_box(COLUMNS[2], middle - 60, 130, 120, "worker", "tables, changelog")]
    for index, topic in enumerate(inputs):
        parts += _input(topic, TOP + ROW * index, middle)
    first = TOP + ROW * (len(inputs) - len(outputs)) // 2
    for index, topic in enumerate(outputs):
        parts += _output(topic, first + ROW * index, middle)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _head(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" font-family="sans-serif" '
        f'font-size="12">\n<title>Dependencies of Available to Promise</title>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f'<text x="20" y="36" font-size="20">Dependencies of Available to Promise</text>\n'
        + "\n".join(
            f'<text x="{x}" y="72" font-weight="bold">{word}</text>'
            for x, word in zip(COLUMNS, ("written by", "inputs", "product", "published", "read by"), strict=True)
        )
    )


def _input(topic: Topic, y: int, middle: int) -> list[str]:
    parts = [_text(COLUMNS[0], y + 20, topic.writer), _box(COLUMNS[1], y, 210, 32, topic.name, "")]
    dash, width, _ = STYLES[topic.role]
    if topic.role is Role.SOFT:  # it ends before the product
        parts.append(_line(COLUMNS[1] + 210, y + 16, COLUMNS[1] + 240, y + 16, dash, width))
        parts.append(_text(COLUMNS[1] + 246, y + 20, topic.readers))
    else:
        parts.append(_line(COLUMNS[1] + 210, y + 16, COLUMNS[2], middle, dash, width))
    return parts


def _output(topic: Topic, y: int, middle: int) -> list[str]:
    dash, width, _ = STYLES[Role.FACT if topic is AVAILABILITY else Role.PUBLISHED]
    return [
        _line(COLUMNS[2] + 130, middle, COLUMNS[3], y + 16, dash, width),
        _box(COLUMNS[3], y, 200, 32, topic.name, ""),
        _text(COLUMNS[4], y + 20, topic.readers),
    ]


def _legend(y: int) -> list[str]:
    parts = []
    for index, (dash, width, words) in enumerate(STYLES.values()):
        at = y + 24 * index
        parts += [_line(20, at, 90, at, dash, width), _text(104, at + 4, words)]
    return parts


def _box(x: int, y: int, width: int, height: int, name: str, more: str) -> str:
    found = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#f4f4f4" stroke="#222222"/>'
    found += _text(x + 8, y + 20, name)
    return found + (_text(x + 8, y + 38, more) if more else "")


def _line(x1: int, y1: int, x2: int, y2: int, dash: str, width: int) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<path d="M{x1} {y1} L{x2} {y2}" fill="none" stroke="#222222" stroke-width="{width}"{dashes}/>'


def _text(x: int, y: int, words: str) -> str:
    return f'<text x="{x}" y="{y}">{escape(words)}</text>'
