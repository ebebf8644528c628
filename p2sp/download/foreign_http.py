"""How is a BitTorrent tracker asked over HTTP (BEP 3)?"""

from p2sp.download.foreign import MAX_ANSWER, Announce, AnnounceFailed, Heard, announce_url, parse_answer
from p2sp.sources.http_probe import Connect, read_answer
from p2sp.sources.interfaces import SourceError


async def ask_http(connect: Connect, url: str, told: Announce, tracker_id: bytes) -> Heard:
    """Announce at a tracker's URL. Raises AnnounceFailed."""
    asked = url
    try:
        asked = announce_url(url, told, tracker_id)
        return parse_answer(await read_answer(connect, asked, MAX_ANSWER))
    except (SourceError, ValueError) as error:
        # What was asked is not for the user's eyes: only who could not answer, and why.
        raise AnnounceFailed(str(error).replace(asked, "").removeprefix(": ")) from error
