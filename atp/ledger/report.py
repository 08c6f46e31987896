"""The one page about a day: totals, waterfalls, completeness, exceptions, difference to operations."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from atp.domain.ledger_book import CLASSES
from atp.ledger.store import Manifest

PLACES = (("sellable", "Sellable"), ("on_hand", "On hand"))
SHOWN_SHORTFALLS, SHOWN_EXCEPTIONS = 8, 8
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
CAUSES = {
    "LATE_FACT": "late facts",
    "CORRECTION": "corrections",
    "PENDING_EXCEPTION": "pending exceptions",
    "AHEAD": "recorded before midnight, dated after it",
    "ORDER": "order of arrival",
}


def report(manifests: Sequence[Manifest]) -> bytes:
    """The page of a date, from the latest revision of every region."""
    exceptions = [{"region": m.region, **found} for m in manifests for found in m.exceptions]
    shortfalls = [(m.region, found) for m in manifests for found in m.shortfalls]
    page = _template().render(
        date=manifests[0].business_date,
        manifests=manifests,
        tables=[(title, _totals(manifests, place)) for place, title in PLACES],
        picture=Markup(_picture(manifests)),  # made here, of numbers and escaped names
        shortfalls=shortfalls[:SHOWN_SHORTFALLS],
        more_shortfalls=len(shortfalls) - SHOWN_SHORTFALLS,
        exceptions=exceptions[:SHOWN_EXCEPTIONS],
        more_exceptions=len(exceptions) - SHOWN_EXCEPTIONS,
        differences=_differences(manifests),
        suppliers=_suppliers(manifests),
    )
    return page.encode()


def _totals(manifests: Sequence[Manifest], place: str) -> list[tuple[str, list[int]]]:
    """(label, figures of every region and of all)."""
    rows = []
    for name in ("opening", *CLASSES, "closing"):
        found = [m.control_totals[f"{name}_{place}"] for m in manifests]
        if name in ("opening", "closing") or any(found):
            rows.append((name.replace("_", " "), [*found, sum(found)]))
    if place == "sellable":
        for name in ("reserved_close", "promised_close"):
            found = [m.control_totals[name] for m in manifests]
            rows.append((name.replace("_close", " at close"), [*found, sum(found)]))
    return rows


def _differences(manifests: Sequence[Manifest]) -> list[tuple[str, list[int]]]:
    """Operational → financial closing of sellable, by cause."""
    causes = sorted({cause for m in manifests for cause in m.differences})
    lines = [("operational", [m.control_totals["operational_closing_sellable"] for m in manifests])]
    lines += [(CAUSES.get(cause, cause), [m.differences.get(cause, 0) for m in manifests]) for cause in causes]
    lines.append(("financial", [m.control_totals["closing_sellable"] for m in manifests]))
    return [(label, [*found, sum(found)]) for label, found in lines]


def _suppliers(manifests: Sequence[Manifest]) -> list[tuple[str, int, int]]:
    received: Counter[str] = Counter()
    returned: Counter[str] = Counter()
    for manifest in manifests:
        for supplier, units in manifest.suppliers.items():
            received[supplier] += units["received"]
            returned[supplier] += units["returned"]
    names = sorted(received, key=lambda name: (-received[name], name))
    return [(name, received[name], returned[name]) for name in names[:6]]


def _picture(manifests: Sequence[Manifest]) -> str:
    """A waterfall opening → closing of sellable per region, as SVG; the same figures give the same bytes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    columns = min(4, len(manifests))
    rows = -(-len(manifests) // columns)
    with mpl.rc_context(
        {"svg.hashsalt": "ledger", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 6}
    ):
        figure = Figure(figsize=(1.85 * columns, 1.3 * rows), layout="constrained")
        for number, manifest in enumerate(manifests):
            _waterfall(figure.add_subplot(rows, columns, number + 1), manifest)
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    text = svg.getvalue()
    return _METADATA.sub("", text[text.index("<svg") :])


def _waterfall(axes: Any, manifest: Manifest) -> None:
    totals = manifest.control_totals
    steps = [(name, totals[f"{name}_sellable"]) for name in CLASSES if totals[f"{name}_sellable"]]
    opening, closing = totals["opening_sellable"], totals["closing_sellable"]
    bars, level = [("opening", 0, opening, "#44546a")], opening
    for name, units in steps:
        bars.append((name.replace("_", " "), level, units, "#2e7d5b" if units > 0 else "#b23b3b"))
        level += units
    bars.append(("closing", 0, closing, "#44546a"))
    for at, (_, bottom, height, colour) in enumerate(bars):
        axes.bar(at, height, bottom=bottom, color=colour, width=0.7)
    axes.set_xticks(range(len(bars)), [bar[0] for bar in bars], rotation=40, ha="right", rotation_mode="anchor")
    ends = [edge for _, bottom, height, _ in bars for edge in (bottom, bottom + height)][2:-2] or [0, 1]
    low, high = min([*ends, opening, closing]), max([*ends, opening, closing])
    room = max(1, (high - low) * 0.15)
    axes.set_ylim(low - 2 * room, high + room)  # the steps matter, not the distance from 0
    axes.set_title(manifest.region, fontsize=7)
    axes.yaxis.set_major_formatter(lambda units, _: f"{units:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)


@lru_cache(maxsize=1)
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["units"] = lambda units: f"{units:,}".replace(",", "\u202f").replace("-", "−")
    environment.filters["percent"] = lambda share: "no totals" if share is None else f"{share * 100:.3f} %"
    return environment.get_template("report.html")
