"""Fetch models from the registry: only the files with weights and metadata, of bounded size, into a private folder.

No other file of a model is opened. MLflow's loaders run code named by the model's MLmodel file, unpickle files and install packages, and
torch's loader of exported programs unpickles. Anyone who can write to a registry could run programs on every machine that reads from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from angiosynth.runtime.output import scratch_folder
from angiosynth.tracking.lineage import project_root
from angiosynth.tracking.opening import look_up, or_none_such

# Limits in bytes. A U-net of width 64 has 126 MB, and width 180 fits. The metadata has a thousand characters.
UNET_SIZES = {"unet.pt": 1 << 30, "unet.json": 1 << 20}


@contextmanager
def fetched_unet(uri: str, root: Path | None = None, scratch: Path | None = None) -> Iterator[Path]:
    """Yield a private folder with unet.pt and unet.json of a run or registered model; it is removed at the end.

    An alias is resolved only once, so that the checked version is the one that is used.

    Args:
        uri: "runs:/RUN", "models:/NAME/VERSION" or "models:/NAME@ALIAS".
        root: folder that contains mlruns/; by default project_root().
        scratch: path next to which the folder is created; by default among the project's resume files.

    Raises:
        InputError: the store cannot be opened; the run, model or file does not exist; or a file is not regular or exceeds its limit.
    """
    root = root or project_root()
    with scratch_folder(scratch or root / ".work" / "fetched") as folder:
        fetch(uri, UNET_SIZES, folder, root)
        yield folder


def fetch(uri: str, sizes: Mapping[str, int], folder: Path, root: Path) -> None:
    """Fetch artifact files of a run into a folder.

    Args:
        uri: as in `fetched_unet`.
        sizes: file name -> limit in bytes.
        folder: an existing folder.
        root: folder that contains mlruns/.

    Raises:
        InputError: as in `fetched_unet`.
    """
    store, run = look_up(root, uri)
    with or_none_such(uri):
        for name, most in sizes.items():
            store.fetch_file(run, name, folder, most)
