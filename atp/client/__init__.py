"""The client package for sales channels: `from atp.client import Client`.

Bootstraps from the compacted topic `atp.availability.v1` to its end, then follows; joins `atp.modes.v1`; answers from
memory with the age of the answer.
"""

from atp.client.answers import Answer, Doubt, Staleness
from atp.client.client import Client, ClientStatus, State
from atp.client.records import Record
from atp.client.subscriptions import ChangesLostError
from atp.client.view import Change, View

__all__ = [
    "Answer",
    "Change",
    "ChangesLostError",
    "Client",
    "ClientStatus",
    "Doubt",
    "Record",
    "Staleness",
    "State",
    "View",
]
