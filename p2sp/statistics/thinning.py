"""How do many rollups of the past become few that say the same of longer intervals?"""

from typing import Final

from sqlalchemy import Connection, delete, func, select

from p2sp.sketches import distinct
from p2sp.statistics.rollup import Amounts, RollupKey, interval_start
from p2sp.statistics.tables import advance, chunks, rollups, stored, stored_of, write

_MOST_GROUPS: Final = 100


def thin(connection: Connection, before: float, seconds: float, limit: int, now: float) -> int:
    """Sum up rollups shorter than `seconds` that ended before a moment, by ISP, resource and interval of `seconds`.

    One interval at a time and about `limit` rollups, but always all that a longer one covers: a reader who sees it may
    forget those. It keeps the largest of their revisions. Answers how many were summed up, 0 when none are left.
    """
    advance(connection, 0, now)
    # Whole intervals only: in the one that holds the moment there may be more to come.
    border = interval_start(before, seconds)
    short = rollups.c.seconds < seconds
    first = _oldest(connection, border, seconds)
    if first is None:
        return 0
    start = interval_start(first, seconds)
    within = (short, rollups.c.start >= start, rollups.c.start < start + seconds)
    pairs = select(rollups.c.isp, rollups.c.resource).where(*within).distinct().limit(_MOST_GROUPS)
    done = 0
    for isp, resource in list(connection.execute(pairs)):
        done += _sum_up(connection, RollupKey(isp or None, resource, start, seconds))
        if done >= limit:
            break
    return done


def _oldest(connection: Connection, border: float, seconds: float) -> float | None:
    """When the oldest rollup shorter than `seconds` began, if before `border`.

    There are few lengths and maybe millions of rollups of each: an index finds the first of every length.
    """
    found = None
    length = 0.0
    while True:
        longer = select(func.min(rollups.c.seconds)).where(rollups.c.seconds > length, rollups.c.seconds < seconds)
        length = connection.execute(longer).scalar_one()
        if length is None:
            return found
        first = select(func.min(rollups.c.start)).where(rollups.c.seconds == length, rollups.c.start < border)
        start = connection.execute(first).scalar_one()
        if start is not None and (found is None or start < found):
            found = start


def _sum_up(connection: Connection, key: RollupKey) -> int:
    columns = rollups.c
    covered = select(rollups).where(
        columns.isp == (key.isp or ""),
        columns.resource == key.resource,
        columns.start >= key.start,
        columns.start < key.start + key.seconds,
        columns.seconds < key.seconds,
    )
    parts = [stored_of(row) for row in connection.execute(covered)]
    known = stored(connection, [key]).get(key)
    everything = [*parts, *([] if known is None else [known])]
    total = Amounts()
    for part in everything:
        total = total.plus(part.amounts)
    # First away with the parts: one of them has the revision that the sum gets.
    for numbers in chunks(part.number for part in parts):
        connection.execute(delete(rollups).where(columns.id.in_(numbers)))
    revision = max(part.revision for part in everything)
    nodes = distinct.merge(part.nodes for part in everything)
    write(connection, [(key, None if known is None else known.number, revision, total, nodes)])
    return len(parts)
