"""Under which URL does a server have a file of a resource?"""

from urllib.parse import quote

from p2sp.resource.verification import Content


def file_url(mirror: str, content: Content, file: int) -> str:
    """The URL of one file at a mirror (BEP 19): a lone file is the URL itself unless that ends in a slash; what is in
    a tree lies below it, under the tree's name.
    """
    if content.single:
        return mirror + quote(content.name) if mirror.endswith("/") else mirror
    path = "/".join(quote(part, safe="") for part in (content.name, *content.paths[file]))
    return f"{mirror.rstrip('/')}/{path}"
