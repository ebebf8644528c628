"""Under which name does a download lie that must not take another's, and how old does it look?"""

import os
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from twisted.internet.interfaces import IReactorTime

from p2sp.resource.verification import Content
from p2sp.storage.disk import DiskStore, open_store
from p2sp.storage.interfaces import AlreadyExists, Changed, Locked, StorageError, Validators
from p2sp.storage.journal import Journal
from p2sp.storage.places import journal_path, part_path
from p2sp.storage.pool import Pool

MAX_TRIES: Final = 1000


def candidates(path: Path) -> Iterator[Path]:
    """`name.ext`, `name.1.ext`, `name.2.ext` and so on."""
    yield path
    for number in range(1, MAX_TRIES):
        yield path.with_name(f"{path.stem}.{number}{path.suffix}")


def free_name(path: Path) -> Path:
    """The first of them that nothing has, nor is on its way to. Blocking. Raises AlreadyExists."""
    for each in candidates(path):
        if not os.path.lexists(each) and not os.path.lexists(part_path(each)):
            return each
    raise AlreadyExists(f"{path} exists already, and {MAX_TRIES - 1} more names of its kind")


async def open_somewhere(
    path: Path,
    content: Content,
    pool: Pool,
    clock: IReactorTime,
    *,
    rename: bool,
    overwrite: bool,
    fresh: bool,
    validators: Validators | None,
) -> DiskStore:
    """`open_store`, which with `rename` tries the next name where something else lies or another download is under way.

    What an earlier run left of the same download is gone on with, also under a later name. Raises what it raises.
    """
    problem: StorageError | None = None
    for each in candidates(path):
        try:
            return await open_store(each, content, pool, clock, overwrite=overwrite, fresh=fresh, validators=validators)
        except (AlreadyExists, Locked) as error:
            problem = error
        except Changed as error:
            if not await pool.run(_is_of_another, each, content):
                raise
            problem = error
        if not rename:
            break
    assert problem is not None
    raise problem


def _is_of_another(path: Path, content: Content) -> bool:
    state = Journal(journal_path(path)).load()
    return state is None or state.key != content.key


def set_time(path: Path, last_modified: str) -> None:
    """Let a file be as old as its server says (an HTTP date); nothing happens when it says nothing usable. Blocking."""
    try:
        seconds = parsedate_to_datetime(last_modified).timestamp()
        os.utime(path, (path.stat().st_atime, seconds))
    except (ValueError, OverflowError, OSError):
        # The file is there and right: its age is a courtesy.
        return
