"""Dead letters: counted by topic and reason, so that refusals are seen by those who watch."""

from __future__ import annotations

from typing import Any

import msgspec

from atp.app import app
from atp.domain.refusals import CONTRADICTIONS
from atp.lane import DeadLetter
from atp.metrics import DEAD_LETTERS as REFUSED
from atp.metrics import IMPOSSIBLE_TRANSITIONS
from atp.topics import DEAD_LETTERS

decode = msgspec.json.Decoder(DeadLetter).decode


@app.agent(app.topic(DEAD_LETTERS.name, key_serializer="raw", value_serializer="raw"))
async def dead_letters(letters: Any) -> None:
    """Count every dead letter; an ordinary Faust agent on an ordinary topic, at low rate."""
    async for value in letters:
        letter = decode(value)
        REFUSED.labels(letter.topic, letter.reason).inc()
        if letter.reason in CONTRADICTIONS:
            IMPOSSIBLE_TRANSITIONS.labels(letter.topic, letter.reason).inc()
