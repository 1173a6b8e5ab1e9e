"""Computes the network of a run, on one device."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from capsule_inspection.tasks.inference_model import InferenceModel

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class TorchBackend:
    """An inference model in PyTorch; `precision` is one of Lightning's."""

    name = "torch"

    def __init__(self, model: InferenceModel, *, device: str, precision: str) -> None:
        layout = torch.channels_last if model.channels_last else torch.contiguous_format
        self.model = model.eval().to(device).to(memory_format=layout)
        self.inputs = model.inputs
        self.device = device
        self.dtype = _AUTOCAST.get(precision)

    def run(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `Backend.run`."""
        tensors = [torch.from_numpy(arrays[name]).to(self.device) for name in self.inputs]
        autocast = torch.autocast(self.device, self.dtype, enabled=self.dtype is not None)
        with torch.inference_mode(), autocast:
            outputs = self.model(*tensors)
        return {
            name: output.cpu().numpy()
            for name, output in zip(self.model.outputs, outputs, strict=True)
        }

    def call(self, method: str, *arrays: np.ndarray) -> np.ndarray | None:
        """As `Backend.call`; None where the model has no such method, or it returns None."""
        function = getattr(self.model, method, None)
        if function is None:
            return None
        with torch.inference_mode():
            found = function(*(torch.from_numpy(array).to(self.device) for array in arrays))
        return None if found is None else found.cpu().numpy()
