"""The probe: scores a generator checkpoint by the performance of a small U-net trained on its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from angiosynth.data.intensity import Scan
from angiosynth.data.patches import PatchSet
from angiosynth.metrics.frechet import frechet_distance
from angiosynth.metrics.segmentation import dsc
from angiosynth.runtime.recorder import NullRecorder
from angiosynth.segmentation.features import Features, unet_features
from angiosynth.segmentation.prediction import Segmenter
from angiosynth.segmentation.training import train_segmenter, with_values_of
from angiosynth.settings import ProbeSettings, UnetSettings

if TYPE_CHECKING:
    from angiosynth.generators.base import Sampler


class UnetProbe:
    """Scores a generator: trains a small U-net on newly drawn pairs and measures its DSC on validation patients.

    To keep the probe cheap only every n-th axial slice is segmented and scored. For comparison it also gives

    - `probe_dsc_real`, the DSC of the same U-net trained on real patches,
    - `fd_unet`, the Frechet distance between generated and real images in the features of that U-net,
    - `fd_unet_floor`, the Frechet distance between the real patches of two halves of the training patients.

    Args:
        scans: of validation patients.
        settings: section `probe`.
        real: patches of training patients.
    """

    def __init__(self, scans: Sequence[Scan], settings: ProbeSettings, real: PatchSet) -> None:
        self.settings, self.real = settings, real
        self.thinned = [_every(scan, settings.slice_stride) for scan in scans]

    def __call__(self, sampler: Sampler, step: int) -> dict[str, float]:
        """Scores "probe_dsc" (mean DSC), "probe_dsc_real", "fd_unet" and "fd_unet_floor" of the generator at a training step."""
        # Train the small U-net on generated pairs; the step in the seed gives each probe new pairs.
        count = self.settings.pairs
        image, label = sampler.pairs(count, seed=self.settings.seed + step)
        patches = PatchSet(image, label, np.full(count, ""), np.arange(count), self.real.meta, self.real.folder)
        segmenter = self._train(patches, "probe")
        # Compare generated with real images in the features of the U-net trained on real patches.
        judge, features, floor, real = self._judge
        distance = frechet_distance(features, unet_features(judge, image))
        return {"probe_dsc": self._dsc(segmenter), "probe_dsc_real": real, "fd_unet": distance, "fd_unet_floor": floor}

    @cached_property
    def _judge(self) -> tuple[Segmenter, Features, float, float]:
        """The U-net trained on real patches, its features of a sample of these, the Frechet distance of two halves of patients, its DSC."""
        judge = self._train(self.real, "probe on real patches")
        # evenly spaced rows, spread over all patients
        rows = np.unique(np.linspace(0, len(self.real) - 1, self.settings.pairs).astype(np.int64))
        features = unet_features(judge, np.asarray(self.real.image[self.real.rows[rows]]))
        # split by patient; the patches of a single patient are split alternately
        order = np.unique(self.real.patient[self.real.rows], return_inverse=True)[1][rows]
        halves = order % 2 if order.max() > 0 else np.arange(len(rows)) % 2
        return judge, features, frechet_distance(features[halves == 0], features[halves == 1]), self._dsc(judge)

    def _dsc(self, segmenter: Segmenter) -> float:
        return float(np.mean([dsc(scan.truth, segmenter.segment(scan.image, scan.brain)) for scan in self.thinned]))

    def _train(self, patches: PatchSet, title: str) -> Segmenter:
        settings = with_values_of(self.settings, UnetSettings(steps=self.settings.steps))
        return train_segmenter(settings, patches, None, NullRecorder(), title).segmenter


def _every(scan: Scan, stride: int) -> Scan:
    """The scan reduced to every n-th axial slice."""
    kept = slice(None, None, stride)
    label = None if scan.label is None else scan.label[:, :, kept]
    return Scan(scan.patient, scan.image[:, :, kept], scan.brain[:, :, kept], label, scan.spacing_mm, scan.path)
