"""What can go wrong in the lane, by what the task does about it."""


class LaneError(Exception):
    """Base of every error the lane raises on purpose."""


class Transient(LaneError):
    """The log or the store did not answer as hoped: the task takes over again after a pause."""


class Fenced(Transient):
    """Another producer took this partition's transactional id: we may no longer own the partition."""


class Discontinuity(Transient):
    """The input did not continue where the task stands: positions are taken again from the commit."""


class Refused(LaneError):
    """Going on could break a guarantee: the task stays FAILED until an operator decides."""


class BatchFailed(Refused):
    """An agent raised while it handled a batch, or let the batch go unhandled."""


class RowTooLarge(Refused):
    """One row or output does not fit into a record batch the broker would take."""


class PoisonRate(Refused):
    """More records were refused than the dead-letter limit allows."""


class NotInBatch(LaneError):
    """A lane table was used outside a `with batch:` block."""


class Evicted(LaneError):
    """The group gave our static identity away (or dropped it): this process must end."""
