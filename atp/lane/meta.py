"""The two rows the lane keeps for itself: one changelogged, one only on the local disk."""

from __future__ import annotations

import msgspec

LAYOUT = 4


class Meta(msgspec.Struct, array_like=True):
    """Metadata row of a task: written with every commit, so that it says what the state stands for."""

    layout: int = LAYOUT
    now_ms: int = 0  # the task's time; never goes back
    offsets: dict[str, int] = {}  # next offset per input topic
    views: dict[str, list[int]] = {}  # positions of the control views this state has seen
    pinned: dict[str, int] = {}  # horizons the state depends on
    sweep_generation: int = 0
    sweep_cursor: bytes | None = None  # None: no sweep under way


class Local(msgspec.Struct, array_like=True):
    """Local row: how far this disk has followed the changelog, and which changelog that was."""

    layout: int
    topic_id: str
    partitions: int
    position: int
    caught_up_ms: int


encode_meta = msgspec.msgpack.Encoder().encode
decode_meta = msgspec.msgpack.Decoder(Meta).decode
encode_local = msgspec.msgpack.Encoder().encode
decode_local = msgspec.msgpack.Decoder(Local).decode
