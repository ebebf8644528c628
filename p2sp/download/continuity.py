"""Is what an earlier run left behind a part of what the server holds now, where neither hashes nor a version tell?"""

from random import Random

from p2sp.download.agreement import SAMPLE
from p2sp.download.errors import DownloadError, no_source_left
from p2sp.download.report import ExitCode
from p2sp.resource.layout import Layout
from p2sp.sources.http_parts import read_part
from p2sp.sources.http_probe import Connect, Probe
from p2sp.sources.interfaces import SourceChanged, SourceError, SourceRefused, SourceStalled
from p2sp.storage.interfaces import IPieceStore


def places(layout: Layout, pieces: list[int], rng: Random) -> list[tuple[int, int]]:
    """What to compare of the pieces that are there: the end of the last one, and some of one of the others."""
    last = pieces[-1]
    chosen = [(max(layout.piece_start(last), layout.piece_end(last) - SAMPLE), layout.piece_end(last))]
    if len(pieces) > 1:
        other = pieces[rng.randrange(len(pieces) - 1)]
        size = min(SAMPLE, layout.piece_size(other))
        start = layout.piece_start(other) + rng.randint(0, layout.piece_size(other) - size)
        chosen.append((start, start + size))
    return chosen


async def still_the_same(connect: Connect, found: Probe, store: IPieceStore, rng: Random) -> None:
    """See that the bytes of an earlier run are those the server holds now; does nothing where something else tells.

    Hashes do, and so does the version that the server names: it was compared when the store was opened.
    Raises DownloadError: exit code 8 when the bytes are others, or when nothing shows that they are not.
    """
    layout = store.content.layout
    pieces = [piece for piece in range(layout.piece_count) if store.has(piece)]
    told = found.version.etag or found.version.last_modified
    if store.content.by_piece or told or not pieces or found.length is None:
        return
    lane = connect.lane(found.url)
    try:
        for start, stop in places(layout, pieces, rng):
            theirs = await read_part(lane, found.url, start, stop, total=found.length, version=found.version)
            if theirs != await store.read(start, stop - start):
                raise SourceChanged(
                    f"{found.url}: changed on the server: bytes {start}-{stop - 1} are others than an earlier run got"
                )
    except SourceChanged as error:
        raise DownloadError(f"{error}; --fresh begins anew", ExitCode.CHANGED) from error
    except (SourceRefused, SourceStalled) as error:
        raise no_source_left(store.content.name, error) from error
    except SourceError as error:
        raise DownloadError(
            f"nothing shows that what an earlier run got is a part of what the server holds now: it names no "
            f"version, and {error}; --fresh begins anew",
            ExitCode.CHANGED,
        ) from error
    finally:
        lane.close()
