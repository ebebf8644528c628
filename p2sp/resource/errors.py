"""What can be wrong with the name or the description of a resource?"""


class ResourceError(ValueError):
    """A descriptor, magnet link or id that cannot be used; the text says what and where."""


class DescriptorError(ResourceError):
    """A metainfo file or info dict that breaks BEP 52 or one of our limits."""


class MagnetError(ResourceError):
    """A magnet link or resource id that names no BitTorrent resource."""


class MetalinkError(ResourceError):
    """A Metalink that breaks RFC 5854 or one of our limits."""
