"""Is a name that somebody else chose safe to write to?"""

from p2sp.resource.errors import DescriptorError

_MAX_NAME = 255


def check_name(name: str) -> str:
    """`name` if it is safe as one component of a path on any system. Raises DescriptorError."""
    if name in ("", ".", "..") or any(c in "/\\\0" or ord(c) < 32 for c in name):
        raise DescriptorError(f"unsafe file name in descriptor: {name!r}")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise DescriptorError(f"file name is not UTF-8: {name[:40]!r}") from error
    if size > _MAX_NAME:
        raise DescriptorError(f"file name longer than {_MAX_NAME} bytes: {name[:40]!r}...")
    return name
