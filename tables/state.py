"""The tables as the one state that the domain reads: the same shape that a fold keeps in memory."""

from atp.domain.fold import State
from tables import damages, intake, receipts, reservations, stock

state = State(
    heads=intake.heads,
    marks=intake.marks,
    stock=stock.rows,
    receipts=receipts.rows,
    damages=damages.documents,
    reservations=reservations.rows,
)
