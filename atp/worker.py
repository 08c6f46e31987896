"""The worker: the app with all its agents, named one by one so that a broken module stops the start.

faust -A atp.worker worker
"""

from __future__ import annotations

from agents import availability, damages, dead_letters, intake, receipts, reservations, stock
from atp.app import app, lane

__all__ = [
    "app",
    "availability",
    "damages",
    "dead_letters",
    "intake",
    "lane",
    "receipts",
    "reservations",
    "stock",
]
