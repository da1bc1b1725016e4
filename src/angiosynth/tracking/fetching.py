"""Fetching models of the registry: only the named files with weights and facts, of bounded size, into a private folder.

Nothing else of a model is opened. MLflow's loaders run code that the model's MLmodel names, unpickle files, and install packages, and
torch's loader of exported programs unpickles: whoever can write to a registry could run programs on every machine that reads from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from angiosynth.runtime.output import scratch_folder
from angiosynth.tracking.lineage import project_root
from angiosynth.tracking.opening import look_up, or_none_such

# Bytes. The U-net of width 64 has 126 MB; one of 180 fits. Its facts have a thousand characters.
UNET_SIZES = {"unet.pt": 1 << 30, "unet.json": 1 << 20}


@contextmanager
def fetched_unet(uri: str, root: Path | None = None, scratch: Path | None = None) -> Iterator[Path]:
    """Give a private folder with unet.pt and unet.json of a run or registered model, removed at the end.

    An alias is resolved once, so that the version that is checked is the one that is used.

    Args:
        uri: "runs:/RUN", "models:/NAME/VERSION" or "models:/NAME@ALIAS".
        root: holds mlruns/; by default project_root().
        scratch: near where the folder may lie for that time; by default among the project's resume files.

    Raises:
        InputError: the store cannot be opened, there is no such run, model or file, or a file is no ordinary one or larger than its limit.
    """
    root = root or project_root()
    with scratch_folder(scratch or root / ".work" / "fetched") as folder:
        fetch(uri, UNET_SIZES, folder, root)
        yield folder


def fetch(uri: str, sizes: Mapping[str, int], folder: Path, root: Path) -> None:
    """Bring files that a run has kept into a folder.

    Args:
        uri: as above.
        sizes: the files' names and how many bytes each may have.
        folder: an existing one.
        root: holds mlruns/.

    Raises:
        InputError: as above.
    """
    store, run = look_up(root, uri)
    with or_none_such(uri):
        for name, most in sizes.items():
            store.fetch_file(run, name, folder, most)
