"""Under which names does a download lie on disk, and whose are they?"""

import errno
import fcntl
import os
import shutil
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import attrs

from p2sp.resource.verification import Content, Evidence
from p2sp.storage.files import Files, Pwrite, storage_error, sync_folder, told_as_storage_error
from p2sp.storage.interfaces import AlreadyExists, Changed, Locked, NoSpace, StorageError, Validators
from p2sp.storage.journal import Journal, State, compare
from p2sp.storage.leaves import LeafFile, drop_leaves, leaves_path

_ROOM = 255 - len(".part.journal.new")
_TRIES = 5


def _beside(path: Path, suffix: str) -> Path:
    """`path` with a suffix; a name too long for it is cut, with a digest in place of what is lost."""
    name = os.fsencode(path.name)
    if len(name) > _ROOM:
        mark = "~" + sha256(name).hexdigest()[:8]
        return path.with_name(name[: _ROOM - len(mark)].decode(errors="ignore") + mark + suffix)
    return path.with_name(path.name + suffix)


def part_path(path: Path) -> Path:
    """Where a download to `path` lies until it is complete."""
    return _beside(path, ".part")


def journal_path(path: Path) -> Path:
    """Where its journal lies."""
    return _beside(path, ".part.journal")


def rest_path(path: Path) -> Path:
    """Where those bytes of a download lie that belong to no file which is kept."""
    return _beside(path, ".part.rest")


def check_target(path: Path, content: Content, overwrite: bool) -> None:
    """Raises AlreadyExists when the finished resource could not take its name.

    A file is replaced when asked for; a folder never, unless it is empty.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path) from error
    folder = stat.S_ISDIR(found.st_mode)
    if not content.single:
        with told_as_storage_error(path):
            if folder and not any(path.iterdir()):
                return
        raise AlreadyExists(f"{path} exists already")
    if folder or not overwrite:
        raise AlreadyExists(f"{path} exists already{' and is a folder' if folder else ''}")


def clean_up(path: Path) -> None:
    """Finish what a run that ended between two steps of `Place.publish` left undone."""
    part, journal = part_path(path), Journal(journal_path(path))
    with told_as_storage_error(part):
        if not os.path.lexists(part):
            journal.remove()
            drop_leaves(leaves_path(part))
        elif path.is_file() and part.is_file() and not part.is_symlink() and path.samefile(part):
            journal.remove()
            part.unlink()
            drop_leaves(leaves_path(part))


def _lock(part: Path, single: bool) -> int:
    """Open, or make, the part and lock it. Raises Locked or StorageError."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    with told_as_storage_error(part):
        for _ in range(_TRIES):
            if single:
                descriptor = os.open(part, flags | os.O_RDWR | os.O_CREAT, 0o666)
            else:
                part.mkdir(exist_ok=True)
                descriptor = os.open(part, flags | os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who held the lock may have renamed or removed the file meanwhile: then the name is another file's.
                if os.path.samestat(os.fstat(descriptor), part.lstat()):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise Locked(f"{part}: another process is writing this download") from None
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
    raise Locked(f"{part}: other processes keep replacing this download")


@attrs.define
class Place:
    """The names of one download on disk, locked; its files and journal below them.

    Blocking: for the pool's threads. Raises StorageError.
    """

    path: Path
    part: Path
    files: Files
    journal: Journal
    content: Content
    overwrite: bool
    marked: list[int]
    """Pieces that the journal of an earlier run vouches for."""

    recent: tuple[int, ...]
    """Those of them that were so young that they are to be checked."""

    validators: Validators
    sidecar: LeafFile | None = None
    keep_leaves: bool = False

    def publish(self) -> None:
        """Give the complete bytes their own name; whatever dies here, either name leads to all of them."""
        self.files.sync(range(len(self.content.paths)))
        self.files.drop_rest()
        if not self.content.single:
            self.files.sync_names()
        with told_as_storage_error(self.path):
            try:
                if not self.content.single or self.overwrite:
                    self.part.replace(self.path)
                else:
                    self._link()
            except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
                raise AlreadyExists(f"{self.path} exists already; the download is complete in {self.part}") from error
            except OSError as error:
                if not self.content.single and self.path.is_dir():
                    raise AlreadyExists(
                        f"{self.path} exists already; the download is complete in {self.part}"
                    ) from error
                raise
            # The journal goes before the part: once the part is gone, another run may make both anew.
            self.journal.remove()
            if self.content.single and not self.overwrite:
                self.part.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        self.files.path = self.path
        if self.sidecar is not None and self.keep_leaves:
            self.sidecar.rename(leaves_path(self.path))
        elif self.sidecar is not None:
            self.sidecar.remove()

    def _link(self) -> None:
        """Take the name without ever taking it from somebody else."""
        try:
            os.link(self.part, self.path, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: the look and the rename are two steps, there is no better way.
            if os.path.lexists(self.path):
                raise FileExistsError(self.path) from None
            self.part.rename(self.path)

    def close(self) -> None:
        """Let the files and the lock go."""
        self.files.close()
        if self.sidecar is not None:
            self.sidecar.close()

    def remove(self) -> None:
        """Take part, journal and leaf hashes off the disk."""
        self.journal.remove()
        if self.sidecar is not None:
            self.sidecar.remove()
        self.files.drop_rest()
        with told_as_storage_error(self.part):
            if self.content.single:
                self.part.unlink(missing_ok=True)
            else:
                shutil.rmtree(self.part)


def _check_space(folder: Path, descriptor: int, needed: int) -> None:
    """Raises NoSpace, with the numbers, when what is still to come cannot fit."""
    with told_as_storage_error(folder):
        disk = os.fstatvfs(descriptor)
    free = disk.f_bavail * disk.f_frsize
    if disk.f_blocks and free < needed:
        raise NoSpace(f"{folder}: {needed} bytes are still needed and {free} are free")


def _no_data(descriptor: int) -> bool:
    try:
        os.lseek(descriptor, 0, os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        return True
    return False


def _has_data(part: Path, descriptor: int, single: bool) -> bool:
    """Whether a part holds anything but holes and folders."""
    with told_as_storage_error(part):
        if single:
            return stat.S_ISREG(os.fstat(descriptor).st_mode) and not _no_data(descriptor)
        for folder, _, names in os.walk(part):
            for name in names:
                path = Path(folder, name)
                if not stat.S_ISREG(path.lstat().st_mode):
                    return True
                with path.open("rb") as file:
                    if not _no_data(file.fileno()):
                        return True
        return False


def _empty(part: Path, descriptor: int, single: bool) -> None:
    """Throw away what is in a part."""
    with told_as_storage_error(part):
        if single:
            os.ftruncate(descriptor, 0)
            return
        for item in part.iterdir():
            if item.is_dir() and not item.is_symlink():
                shutil.rmtree(item)
            else:
                item.unlink()


def take(
    path: Path,
    content: Content,
    validators: Validators | None = None,
    *,
    overwrite: bool = False,
    fresh: bool = False,
    keep_leaves: bool = False,
    pwrite: Pwrite = os.pwrite,
) -> Place:
    """Lock a download's place, and see what an earlier run left there; `fresh` throws that away.

    Raises AlreadyExists, Locked, Changed, NoSpace or StorageError.
    """
    if not path.name:
        raise StorageError(f"{path}: is not a name to write to")
    clean_up(path)
    check_target(path, content, overwrite)
    part, journal = part_path(path), Journal(journal_path(path))
    descriptor = _lock(part, content.single)
    try:
        # Who held the lock until now may have finished.
        check_target(path, content, overwrite)
        if fresh:
            journal.remove()
            _empty(part, descriptor, content.single)
        state = journal.load()
        if state is None and not journal.path.exists() and _has_data(part, descriptor, content.single):
            # The journal is written before the first byte: this is somebody else's, or has lost its journal.
            raise AlreadyExists(f"{part} exists already and has no journal; remove it, or choose another name")
        if state is not None:
            try:
                compare(state, content, validators)
            except Changed as error:
                raise Changed(
                    f"{error}; remove {part} and its journal, or choose another name, to start anew"
                ) from None
            if not state.fits(content.layout.piece_count):
                state = None
        marked = [] if state is None else [piece for piece in state.marked() if piece not in content.unwanted]
        allocated = os.fstat(descriptor).st_blocks * 512 if content.single else 0
        there = sum(map(content.layout.piece_size, marked))
        _check_space(part.parent, descriptor, content.length - max(there, allocated))
        files = Files(descriptor, part, content, writable=True, pwrite=pwrite, rest=rest_path(path))
        untrusted = files.prepare()
        marked = [piece for piece in marked if untrusted.isdisjoint(content.layout.files_of(piece))]
        sidecar = None
        if content.verification.evidence is Evidence.LEAVES:
            sidecar = LeafFile(leaves_path(part), content.layout, fresh=not marked)
        return Place(
            path=path,
            part=part,
            files=files,
            journal=journal,
            content=content,
            overwrite=overwrite,
            marked=marked,
            recent=tuple(sorted(set(state.recent) & set(marked))) if state is not None else (),
            validators=_merged(validators, state),
            sidecar=sidecar,
            keep_leaves=keep_leaves,
        )
    except BaseException:
        if not journal.path.exists():
            _withdraw(part, descriptor, content.single)
        os.close(descriptor)
        raise


def _withdraw(part: Path, descriptor: int, single: bool) -> None:
    """Remove an empty part, so that a refusal leaves nothing behind."""
    with suppress(OSError):
        if not single:
            part.rmdir()
        elif stat.S_ISREG((found := os.fstat(descriptor)).st_mode) and not found.st_size:
            part.unlink()


def _merged(given: Validators | None, state: State | None) -> Validators:
    """What the server says now, and what it said before where it says nothing now."""
    now = given or Validators()
    if state is None:
        return now
    return Validators(now.url or state.url, now.etag or state.etag, now.last_modified or state.last_modified)
