"""Command serve: a registered U-net over HTTP, rebuilt from its weights by this project's code."""

from __future__ import annotations

import socket
from functools import partial

from angiosynth import __version__
from angiosynth.errors import InputError
from angiosynth.runtime.progress import say
from angiosynth.runtime.service import Service, run
from angiosynth.segmentation.invocations import answer
from angiosynth.segmentation.serving import Served
from angiosynth.segmentation.storage import load_segmenter
from angiosynth.tracking.fetching import fetched_unet


def serve(model: str, listener: socket.socket) -> None:
    """Answer requests at a listening socket until Ctrl-C or SIGTERM.

    Args:
        model: "models:/NAME@ALIAS" or "models:/NAME/VERSION". Only unet.pt and unet.json of its run are used.
        listener: a listening socket.

    Raises:
        InputError: no such model exists, or it is damaged.
    """
    if not model.startswith("models:/"):
        raise InputError(f"--model {model}: names no registered model; write models:/NAME@ALIAS or models:/NAME/VERSION, see `make ui`")
    with fetched_unet(model) as folder:
        served = Served(load_segmenter(folder)).cpu().eval()
    host, port = listener.getsockname()
    say(f"{model} answers at http://{host}:{port}/invocations until Ctrl-C (docs/serving.md)")
    run(Service(partial(answer, served), __version__), listener)
