"""Names of models and paths of weights, checked without the libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from capsule_inspection.config.library_names import check_library_names
from capsule_inspection.types import ConfigurationError


def check(builder: str, *, name: str = "", encoder: str = "", weights: str = "auto") -> None:
    model = {"builder": builder, "name": name, "encoder": encoder, "weights": weights}
    check_library_names(OmegaConf.create({"model": model}))


def test_weights_are_a_choice_or_exist(tmp_path: Path) -> None:
    run, file, table = tmp_path / "run", tmp_path / "a.pth", tmp_path / "a.csv"
    run.mkdir()
    for path in (run / "run.json", file, table):
        path.touch()
    for weights in ("auto", "imagenet", "synthetic", "none", str(run), str(file)):
        check("custom_resnet", weights=weights)
    for weights in (str(table), str(tmp_path)):
        with pytest.raises(ConfigurationError, match=f"weights={weights}: expected a run folder"):
            check("custom_resnet", weights=weights)
    for weights in ("imagnet", str(tmp_path / "none.ckpt")):
        with pytest.raises(ConfigurationError, match=f"model.weights={weights}: there is no such"):
            check("custom_resnet", weights=weights)


def test_names_of_the_libraries_pass() -> None:
    for name in ("resnet18", "resnet18.a1_in1k", "tv_resnet34"):
        check("timm", name=name)
    check("torchvision", name="mobilenet_v3_small")
    for encoder in ("autoencoder", "mit_b0", "convnext_atto", "tu-resnet18", "se_resnet50"):
        check("segmenter", encoder=encoder)


def test_other_names_are_refused_with_similar_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"no such model in timm. Did you mean resnet50"):
        check("timm", name="resnt50")
    with pytest.raises(ConfigurationError, match=r"Write model=torchvision model.name=mobile"):
        check("timm", name="mobilenet_v3_small")
    with pytest.raises(ConfigurationError, match=r"encoder=resnt18: there is no such model"):
        check("segmenter", encoder="resnt18")


def test_the_libraries_are_not_imported() -> None:
    code = (
        "import sys; from tests.config import test_library_names as each\n"
        "each.test_names_of_the_libraries_pass()\n"
        "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
