"""Scores of the drill on cases worked by hand."""

from __future__ import annotations

import pytest

from atp.simulation.scoring import AtClose, Score, oversold, score, undersold


@pytest.mark.parametrize(
    ("at", "over", "under", "sold"),
    [
        # 10 shipped, 4 more promised, 4 lie there: all is well
        (AtClose(shipped=10, open=4, shelf=4, refused=0), 0, 0, 14),
        # 4 promised, only 1 lies there: 3 customers' units cannot be delivered
        (AtClose(shipped=10, open=4, shelf=1, refused=0), 3, 0, 11),
        # 6 lie there, 4 are promised: of 5 refused units 2 could have been sold
        (AtClose(shipped=10, open=4, shelf=6, refused=5), 0, 2, 14),
        # only 1 was refused, so only 1 was missed
        (AtClose(shipped=10, open=4, shelf=20, refused=1), 0, 1, 14),
        # refused and oversold at once: refusing was right
        (AtClose(shipped=0, open=4, shelf=1, refused=7), 3, 0, 1),
        # nobody came
        (AtClose(shipped=0, open=0, shelf=9, refused=0), 0, 0, 0),
    ],
)
def test_one_record_at_close(at: AtClose, over: int, under: int, sold: int) -> None:
    """Oversold is what was promised and does not lie there; undersold what was refused and does."""
    assert (oversold(at), undersold(at)) == (over, under)
    assert score([at]) == Score(oversold_units=over, undersold_units=under, sold_units=sold)


def test_records_do_not_net() -> None:
    """What lies on one shelf does not deliver what another one is short of."""
    short, full = AtClose(0, 3, 0, 0), AtClose(0, 0, 3, 2)
    assert score([short, full]) == Score(oversold_units=3, undersold_units=2, sold_units=0)


def test_scores_add_up() -> None:
    """The sum over seeds is the sum of each figure."""
    one = Score(oversold_units=1, undersold_units=2, sold_units=3)
    assert one.add(one) == Score(oversold_units=2, undersold_units=4, sold_units=6)
