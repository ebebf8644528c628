"""How do resources get into a database, and who finds them there?"""

from collections.abc import Collection, Sequence
from typing import Any, Final

import attrs
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Select,
    String,
    Table,
    Text,
    UniqueConstraint,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Row
from twisted.internet.defer import Deferred
from zope.interface import implementer

from p2sp.index.interfaces import Contradiction, IIndexStore, StoredTorrent, TooManyMirrors
from p2sp.index.publication import MAX_MIRRORS, Mirror, Publication
from p2sp.index.schema import FileView, ResourceView
from p2sp.ops.database import Database
from p2sp.resource.magnet import Magnet

MAX_FOUND: Final = 10
"""Resources in the answer to a lookup."""

MAX_PAGE: Final = 100
FILES_IN_VIEW: Final = 1000
FILES_IN_LIST: Final = 10
MIRRORS_IN_LISTING: Final = 10

metadata = MetaData()

_resources = Table(
    "resources",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(64), nullable=False, unique=True),
    Column("name", String(255), nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("piece_length", BigInteger, nullable=False),
    Column("single", Boolean, nullable=False),
    # Of a lone file only, so that nobody is sent a folder when looking for a file.
    Column("root", String(64), nullable=True, index=True),
    Column("sha256", String(64), nullable=True, index=True),
    Column("file_count", Integer, nullable=False),
    Column("published", Double, nullable=False),
)

# Apart from the rest, because it is large and rarely wanted.
_torrents = Table(
    "torrents",
    metadata,
    Column("resource", String(64), ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True),
    Column("torrent", LargeBinary, nullable=False),
)

_files = Table(
    "files",
    metadata,
    Column("resource", String(64), ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("path", Text, nullable=False),
    Column("length", BigInteger, nullable=False),
    Column("root", String(64), nullable=True),
)

_mirrors = Table(
    "mirrors",
    metadata,
    Column("resource", String(64), ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("url", String(2048), nullable=False),
    Column("target", String(2048), nullable=False, index=True),
    UniqueConstraint("resource", "target"),
)


@attrs.frozen
@implementer(IIndexStore)
class SqlIndexStore:
    """The index in a SQL database."""

    database: Database

    def publish(self, publication: Publication, now: float) -> Deferred[None]:
        """Add a resource or mirrors in one transaction."""
        return self.database.run(lambda connection: _publish(connection, publication, now))

    def resource(self, resource: str) -> Deferred[ResourceView | None]:
        """One resource, with as many files as a view may show."""

        def find(connection: Connection) -> ResourceView | None:
            found = _views(connection, select(_resources).where(_resources.c.id == resource), FILES_IN_VIEW)
            return found[0] if found else None

        return self.database.run(find)

    def torrent(self, resource: str) -> Deferred[StoredTorrent | None]:
        """The torrent and mirrors of one resource."""
        return self.database.run(lambda connection: _torrent(connection, resource))

    def by_target(self, target: str) -> Deferred[list[ResourceView]]:
        """Resources that have a mirror there."""
        carried = select(_mirrors.c.resource).where(_mirrors.c.target == target)
        return self._found(_resources.c.id.in_(carried))

    def by_digest(self, sha256: str) -> Deferred[list[ResourceView]]:
        """Lone files with this digest."""
        return self._found(_resources.c.sha256 == sha256)

    def by_root(self, length: int, root: str) -> Deferred[list[ResourceView]]:
        """Lone files with this length and root; the root alone is no identity (BEP 52 has no domain separation)."""
        return self._found(_resources.c.root == root, _resources.c.length == length)

    def names(self, resources: Collection[str]) -> Deferred[dict[str, str]]:
        """The names of these ids."""
        wanted = select(_resources.c.id, _resources.c.name).where(_resources.c.id.in_(resources))
        return self.database.run(lambda connection: {row.id: row.name for row in connection.execute(wanted)})

    def listing(self, after: str | None, limit: int, name: str | None) -> Deferred[list[ResourceView]]:
        """Resources newest first; nothing when `after` is unknown. `limit` is cut to MAX_PAGE."""
        wanted = select(_resources)
        if after is not None:
            number = select(_resources.c.number).where(_resources.c.id == after).scalar_subquery()
            wanted = wanted.where(_resources.c.number < number)
        if name:
            wanted = wanted.where(_resources.c.name.icontains(name, autoescape=True))
        wanted = wanted.order_by(_resources.c.number.desc()).limit(max(1, min(limit, MAX_PAGE)))
        return self.database.run(lambda connection: _views(connection, wanted, FILES_IN_LIST, MIRRORS_IN_LISTING))

    def _found(self, *where: Any) -> Deferred[list[ResourceView]]:
        wanted = select(_resources).where(*where).order_by(_resources.c.number.desc()).limit(MAX_FOUND)
        return self.database.run(lambda connection: _views(connection, wanted, FILES_IN_LIST))


def _publish(connection: Connection, publication: Publication, now: float) -> None:
    if _insert_if_new(connection, publication, now):
        _insert_content(connection, publication)
    # Locks the row where the engine can: two publishers of one resource take turns with its mirrors.
    known = connection.execute(
        select(_resources.c.sha256).where(_resources.c.id == publication.id).with_for_update()
    ).one()
    if publication.sha256 is not None and known.sha256 != publication.sha256:
        if known.sha256 is not None:
            raise Contradiction(
                f"resource {publication.id} was published with sha256 {known.sha256}, now with {publication.sha256}"
            )
        connection.execute(
            update(_resources).where(_resources.c.id == publication.id).values(sha256=publication.sha256)
        )
    _add_mirrors(connection, publication.id, publication.mirrors)


def _insert_if_new(connection: Connection, publication: Publication, now: float) -> bool:
    """Whether the resource was unknown; if so it is now known."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    lone = publication.files[0] if publication.single else None
    number = connection.execute(
        dialect.insert(_resources)
        .values(
            id=publication.id,
            name=publication.name,
            length=publication.length,
            piece_length=publication.piece_length,
            single=publication.single,
            root=lone.root if lone else None,
            sha256=publication.sha256,
            file_count=len(publication.files),
            published=now,
        )
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(_resources.c.number)
    ).scalar_one_or_none()
    return number is not None


def _insert_content(connection: Connection, publication: Publication) -> None:
    connection.execute(_torrents.insert().values(resource=publication.id, torrent=publication.torrent))
    rows = [
        {"resource": publication.id, "place": place, "path": file.path, "length": file.length, "root": file.root}
        # What no view shows need not be stored twice: the torrent has it all.
        for place, file in enumerate(publication.files[:FILES_IN_VIEW])
    ]
    connection.execute(_files.insert(), rows)


def _add_mirrors(connection: Connection, resource: str, mirrors: Sequence[Mirror]) -> None:
    there = set(connection.execute(select(_mirrors.c.target).where(_mirrors.c.resource == resource)).scalars())
    fresh = [mirror for mirror in mirrors if mirror.target not in there]
    if len(there) + len(fresh) > MAX_MIRRORS:
        raise TooManyMirrors(
            f"resource {resource} has {len(there)} mirrors, {len(fresh)} more are beyond the limit of {MAX_MIRRORS}"
        )
    if fresh:
        rows = [
            {"resource": resource, "place": len(there) + at, "url": mirror.url, "target": mirror.target}
            for at, mirror in enumerate(fresh)
        ]
        connection.execute(_mirrors.insert(), rows)


def _torrent(connection: Connection, resource: str) -> StoredTorrent | None:
    row = connection.execute(
        select(_resources.c.name, _torrents.c.torrent)
        .join(_torrents, _torrents.c.resource == _resources.c.id)
        .where(_resources.c.id == resource)
    ).one_or_none()
    if row is None:
        return None
    return StoredTorrent(row.name, row.torrent, _mirrors_of(connection, [resource]).get(resource, []))


def _views(connection: Connection, wanted: Select[Any], files: int, mirrors: int = MAX_MIRRORS) -> list[ResourceView]:
    """The resources a query finds, each with its first files and mirrors."""
    rows = list(connection.execute(wanted))
    ids = [row.id for row in rows]
    file_views: dict[str, list[FileView]] = {}
    shown = select(_files).where(_files.c.resource.in_(ids), _files.c.place < files)
    for row in connection.execute(shown.order_by(_files.c.resource, _files.c.place)):
        file_views.setdefault(row.resource, []).append(FileView(row.path, row.length, row.root))
    urls = _mirrors_of(connection, ids, mirrors)
    return [_view(row, file_views.get(row.id, []), urls.get(row.id, [])) for row in rows]


def _mirrors_of(connection: Connection, ids: Sequence[str], most: int = MAX_MIRRORS) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    wanted = select(_mirrors).where(_mirrors.c.resource.in_(ids), _mirrors.c.place < most)
    for row in connection.execute(wanted.order_by(_mirrors.c.resource, _mirrors.c.place)):
        found.setdefault(row.resource, []).append(row.url)
    return found


def _view(row: Row[Any], files: list[FileView], mirrors: list[str]) -> ResourceView:
    return ResourceView(
        id=row.id,
        name=row.name,
        length=row.length,
        piece_length=row.piece_length,
        files=files,
        mirrors=mirrors,
        magnet=str(Magnet(bytes.fromhex(row.id), row.name)),
        sha256=row.sha256,
        published=row.published,
        file_count=row.file_count,
    )
