"""Format errors of the operating system as one line: file, reason, and advice for this kind of error."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

FULL_BYTES = 1 << 20  # a disk with less free space counts as full; libraries such as numpy report short writes without the reason
TORCH_WRITER = ("PytorchStreamWriter", "inline_container")  # torch.save reports a full disk as RuntimeError with these in its text

ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your share of that disk",
    errno.EFBIG: "that disk takes no file so large, name a place on another",
    errno.EROFS: "that disk is mounted read-only, name a place elsewhere",
    errno.EACCES: "mend its permissions",
    errno.EPERM: "mend its permissions or attributes",
    errno.ENAMETOOLONG: "shorten its name",
    errno.EISDIR: "a folder lies there, name a file or move it away",
    errno.ENOTDIR: "a file lies where a folder should be, move it away",
    errno.EEXIST: "something lies there already, move it away",
    errno.ENOENT: "put it there or mend its name",
    errno.EBUSY: "it is in use or something is mounted there, name another place",
    errno.ETXTBSY: "it is in use, end the program that runs it",
    errno.EXDEV: "it lies on two disks, name a place on one",
    errno.ELOOP: "its links lead in a circle, mend them",
    errno.EMFILE: "too many files are open, raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open, close other programs",
    errno.EINVAL: "that disk does not take such a name or file, name a place elsewhere",
    errno.EILSEQ: "that disk does not take such a name, write it with other letters",
    errno.EIO: "look at that disk or network drive",
    errno.ESTALE: "look at that network drive",
    errno.ENOMEM: "close other programs",
}
OTHERWISE = "mend that"


def fault_line(error: OSError) -> str:
    """Format an error as `FILE: reason; advice`. Without a file name it states the full disks, or else the folders written to."""
    number, reason = _reason(error, _full_disks())
    place = error.filename if error.filename is not None else error.filename2
    name = _text(place) if place is not None else _places(number)
    return f"{name}: {reason}; {ADVICE.get(number, OTHERWISE)}, then run again"


def write_fault(path: Path, error: OSError | RuntimeError) -> str:
    """Format a write error as `PATH: cannot be written (reason); advice`."""
    full = [path] if _is_full(path.parent) else []
    number, reason = _reason(error, full) if isinstance(error, OSError) else _reason(OSError("not written to its end"), full)
    return f"{path}: cannot be written ({reason}); {ADVICE.get(number, OTHERWISE)}, then run again"


def is_torch_write(error: RuntimeError) -> bool:
    """Return whether the error comes from torch.save's file writer."""
    return any(word in str(error) for word in TORCH_WRITER)


def _reason(error: OSError, full: list[Path]) -> tuple[int, str]:
    if error.errno is None and full:
        return errno.ENOSPC, os.strerror(errno.ENOSPC)
    return error.errno or 0, error.strerror or str(error) or type(error).__name__


def _places(number: int) -> str:
    full = _full_disks() if number == errno.ENOSPC else []
    if full:
        return " and ".join(map(str, full))
    return f"{' or '.join(map(str, _written_to()))}, or the disk of the output"


def _full_disks() -> list[Path]:
    return [folder for folder in _written_to() if _is_full(folder)]


def _written_to() -> list[Path]:
    """Folders to which any command may write: the working folder and the folder for temporary files."""
    folders = []
    for ask in (os.getcwd, tempfile.gettempdir):
        try:
            folders.append(Path(ask()))
        except OSError:  # the working folder was removed, or no temporary folder is writable
            continue
    return folders


def _is_full(folder: Path) -> bool:
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free < FULL_BYTES
    except OSError:
        return False


def _text(name: object) -> str:
    return os.fsdecode(name) if isinstance(name, (str, bytes)) else str(name)
