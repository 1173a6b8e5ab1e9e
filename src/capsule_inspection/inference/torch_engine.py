"""The network of a run itself, on one device."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
import torch

from capsule_inspection.models.inspector import ClassificationInspector, Inspector


class TorchEngine:
    """The network of a run itself, on one device."""

    name = "torch"

    def __init__(
        self, inspector: Inspector, *, device: str, half: bool, channels_last: bool
    ) -> None:
        """With `half` the network computes in bfloat16 where that is safe."""
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.inspector = inspector.eval().to(device).to(memory_format=layout)
        self.inputs = inspector.inputs
        self.device = device
        self.half = half

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `Engine.run`."""
        tensors = [torch.from_numpy(arrays[name]).to(self.device) for name in self.inputs]
        with torch.inference_mode(), self._precision():
            found = self.inspector(*tensors)
        return {
            name: output.cpu().numpy()
            for name, output in zip(self.inspector.outputs, found, strict=True)
        }

    def explain(self, image: np.ndarray, label: np.ndarray) -> np.ndarray | None:
        """As `Engine.explain`: of classifiers that have a map, see `models/explanation.py`."""
        if not isinstance(self.inspector, ClassificationInspector):
            return None
        found = self.inspector.explain(
            torch.from_numpy(image).to(self.device), torch.from_numpy(label).to(self.device)
        )
        return None if found is None else found.cpu().numpy()

    def embed(self, image: np.ndarray) -> np.ndarray:
        """As `Engine.embed`, see `Inspector.embedding`."""
        with torch.inference_mode():
            found = self.inspector.embedding(torch.from_numpy(image).to(self.device))
        return found.cpu().numpy()

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        if not self.half:
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16)
