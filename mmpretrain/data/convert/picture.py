"""Pictures in the folder of a source, by the names that its tables use; nothing outside that folder is read."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from mmpretrain.core.errors import DataError
from mmpretrain.data.faults import BadSample

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"})
"""File names taken for pictures; what a file really is say its first bytes."""
FOREIGN_SUFFIXES = frozenset({".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif", ".jxl", ".svg", ".ico"})
"""Pictures that nothing here decodes; named instead of overlooked."""

# Flickr8k and its kin number the captions of a picture: 1000268201_693b08cb0e.jpg#0
_NUMBERED = re.compile(r"(\.(?:jpe?g|png|webp))#\d+$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FilePicture:
    """A picture in a file below a folder."""

    folder: str
    path: str
    """Relative to the folder, with /."""
    follow_links: bool = False
    """Whether links may lead out of the folder, as they do in caches of the Hugging Face hub."""

    @property
    def name(self) -> str:
        return self.path

    def read(self, max_bytes: int) -> bytes:
        try:
            return read_below(Path(self.folder), self.path, max_bytes, self.follow_links)
        except FileNotFoundError as error:
            raise BadSample("missing_image", f"no file {self.path} in {self.folder}") from error


def locate(folder: Path, name: object, follow_links: bool = False) -> FilePicture:
    """The picture that a table calls `name`; whether it is there shows when it is read.

    Raises:
        BadSample: no name, a web address, or a path that leads out of the folder.
    """
    text = "" if name is None else str(name).strip()
    if not text:
        raise BadSample("no_image", "the row names no picture")
    if "://" in text:
        raise BadSample("image_url", f"{text[:200]} is an address; download it with img2dataset, then pack its shards")
    if "\0" in text:
        raise BadSample("outside_source", "the name holds a NUL character")
    path = text.replace("\\", "/") if "/" not in text else text
    path = _NUMBERED.sub(r"\1", path)
    if os.path.isabs(path):
        path = os.path.relpath(os.path.normpath(path), os.path.abspath(folder))
    path = os.path.normpath(path)
    if path.split("/")[0] == ".." or path[1:3] == ":/":
        raise BadSample("outside_source", f"{text[:200]} leads out of {folder}")
    return FilePicture(str(folder), path, follow_links)


def read_below(folder: Path, path: str, max_bytes: int, follow_links: bool = False) -> bytes:
    """The content of a plain file that is really below the folder, once links are followed.

    Raises:
        FileNotFoundError: it is not there.
        BadSample: a link leads out, it is no plain file, cannot be read, or is too large.
    """
    file = folder / path
    if not follow_links and not Path(os.path.realpath(file)).is_relative_to(os.path.realpath(folder)):
        raise BadSample("outside_source", f"{path} is a link out of {folder}; --follow-links allows it")
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadSample("no_file", f"{path} is no plain file")
        if status.st_size > max_bytes:
            raise BadSample("large_file", f"{path}: {status.st_size:,} bytes are more than {max_bytes:,}")
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(path) from error
    except OSError as error:
        raise BadSample("unreadable", f"{path}: {error.strerror}") from error


def files_below(folder: Path, follow_links: bool = False) -> list[str]:
    """Every file below a folder, relative with /, in the order of the names; hidden ones are left out.

    Raises:
        DataError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename}: {error.strerror}; make it readable, or take it out of {folder}") from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=follow_links):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = os.path.relpath(parent, folder)
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + name for name in files if not name.startswith(".")]
    return sorted(found)


def suffix_of(path: str) -> str:
    """The last suffix in lower case, with its dot."""
    return os.path.splitext(path)[1].lower()


def names_picture(text: str) -> bool:
    """Whether a cell ends as the name of a picture does, numbered or not."""
    return suffix_of(_NUMBERED.sub(r"\1", text.strip())) in IMAGE_SUFFIXES | FOREIGN_SUFFIXES
