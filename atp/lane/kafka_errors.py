"""What aiokafka raises, in the lane's words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiokafka import errors

from atp.lane.errors import FencedError, LaneError, RowTooLargeError, TransientError

FENCING = (errors.ProducerFenced, errors.InvalidProducerEpoch, errors.InvalidProducerIdMapping)
TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.RecordTooLargeError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise lane errors instead of the client's; what the broker says no to is worth another take-over.

    A producer's state machine answers misuse after an error with AssertionError and IllegalOperation,
    so they too mean no more than: throw this producer away.
    """
    try:
        yield
    except LaneError:
        raise
    except FENCING as error:
        raise FencedError(f"{what}: another producer has taken over") from error
    except TOO_LARGE as error:
        raise RowTooLargeError(f"{what}: {error!r}") from error
    except (errors.KafkaError, AssertionError, OSError, TimeoutError) as error:
        raise TransientError(f"{what}: {error!r}") from error
