"""Text of a set's proven privacy guarantee, and the conditions under which a set with a guarantee may not be released.

The guarantee is the mapping `promise` in card.json of the set, written when its generator was trained; sets of other generators have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from angiosynth.settings.texts import escaped_markdown

TEXT = """The pairs were drawn by a simulator whose settings were chosen by noisy votes of {patients} patients' images, with differential
privacy: epsilon {epsilon:g}, delta {delta:g}. The unit is {unit}. {rounds} rounds, {mechanism} (standard deviation
{noise_deviation:g} on votes of norm {norm:.4g}: noise multiplier {noise_multiplier:g}), accounted by {accountant}. No patient's pixel
or label is in a pair.

Not covered by the promise:

{exceptions}"""


def promise_fault(promise: Mapping[str, Any], with_unet: bool = False) -> str:
    """Reason why a set with this guarantee may not be released, or not with a U-net selected on patients; "" if it may."""
    if promise and promise.get("noise_source") != "secure":
        return (
            "its noise came from a fixed seed, which whoever knows it can subtract: epsilon promises nothing then; "
            "set noise_source: secure for its generator in params.yaml and run `dvc repro`"
        )
    if promise and with_unet:
        return "validation patients chose its U-net, and epsilon promises nothing to them; release the set without --with-unet"
    return ""


def promise_words(promise: Mapping[str, Any]) -> str:
    """Markdown text of the guarantee for the README of a package; "" for a set without one."""
    if not promise:
        return ""
    exceptions = "\n".join(f"- {escaped_markdown(str(exception))}" for exception in promise["not_private"])
    return TEXT.format(**{**promise, "norm": promise["votes"] ** 0.5, "exceptions": exceptions})
