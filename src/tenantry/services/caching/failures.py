"""What goes wrong with the Redis of a site, as errors of the platform."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import OutOfMemoryError, RedisError

from tenantry.base.errors import Unavailable


@contextmanager
def answering() -> Iterator[None]:
    """Raise Unavailable for what goes wrong with Redis."""
    try:
        yield
    except OutOfMemoryError as error:
        hint = "Delete entries, or let the site have more memory: memory_mb."
        raise Unavailable("The site's memory is full.", hint=hint) from error
    except (RedisError, OSError) as error:
        raise Unavailable("The site's Redis does not answer.") from error
