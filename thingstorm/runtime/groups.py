"""Exception groups: people are told the one error that counts."""

import anyio


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group that is not a mere cancellation, however deep groups are nested."""
    for error in group.exceptions:
        inner = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(inner, anyio.get_cancelled_exc_class()):
            return inner
    return group.exceptions[0]
