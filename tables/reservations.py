"""Written by agents/reservations: lines with their versions, and the demand summed over them."""

from atp.app import lane
from atp.domain.reservations import DemandBook, Line, ReservationRows

lines = lane.spread_table("reservation_lines", row=Line)  # key: (sku, reservation and line)
demand = lane.table("demand", row=DemandBook)  # key: (sku,)

rows = ReservationRows(lines, demand)
