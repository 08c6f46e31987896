"""What can go wrong in the lane, by what the task does about it."""


class LaneError(Exception):
    """Base of every error the lane raises on purpose."""


class TransientError(LaneError):
    """The log or the store did not answer as hoped: the task takes over again after a pause."""


class FencedError(TransientError):
    """Another producer took this partition's transactional id: we may no longer own the partition."""


class DiscontinuityError(TransientError):
    """The input did not continue where the task stands: positions are taken again from the commit."""


class RefusedError(LaneError):
    """Going on could break a guarantee: the task stays FAILED until an operator decides."""


class BatchFailedError(RefusedError):
    """An agent raised while it handled a batch, or let the batch go unhandled."""


class RowTooLargeError(RefusedError):
    """One row or output does not fit into a record batch the broker would take."""


class PoisonRateError(RefusedError):
    """More records were refused than the dead-letter limit allows."""


class NotInBatchError(LaneError):
    """A lane table was used outside a `with batch:` block."""


class EvictedError(LaneError):
    """The group gave our static identity away (or dropped it): this process must end."""
