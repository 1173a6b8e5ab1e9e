"""Exported files: what goes in comes out, in each format, and bad files are told apart."""

from __future__ import annotations

import dataclasses
import html
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_inspectors import description_of, inspector_of, reads_of

from capsule_inspection.inference import exported, formats
from capsule_inspection.inference.description import (
    CLASSIFICATION,
    FORMAT_VERSION,
    RECONSTRUCTION,
    SEGMENTATION,
    TASKS,
)
from capsule_inspection.inference.exported import is_exported, open_exported
from capsule_inspection.inference.formats import ONNX, OPENVINO, SUFFIXES, TORCHSCRIPT, format_of
from capsule_inspection.inference.parity import Parity
from capsule_inspection.inference.predictor import Predictor
from capsule_inspection.inference.torch_engine import TorchEngine
from capsule_inspection.models.inspector import Inspector
from capsule_inspection.models.tiling import Tiling
from capsule_inspection.types import ConfigurationError, RunError

FORMATS = (ONNX, OPENVINO, TORCHSCRIPT)


def write(inspector: Inspector, task: str, folder: Path, name: str) -> Path:
    path = folder / f"model{SUFFIXES[name]}"
    inspector.make_exportable()
    format_of(name).write(inspector, description_of(task), path)
    return path


@pytest.fixture(scope="module", params=FORMATS)
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small classifier that reads places, in each format and a folder of its own."""
    folder = tmp_path_factory.mktemp("exported")
    return write(
        inspector_of(CLASSIFICATION, reads_mask=True), CLASSIFICATION, folder, request.param
    )


@pytest.fixture
def copied(classifier: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(classifier.parent, tmp_path / "export") / classifier.name


def check_parity(path: Path, inspector: Inspector, task: str) -> None:
    """The same outputs, answers and description, for one crop and for three."""
    engine = TorchEngine(inspector, device="cpu", half=False, channels_last=False)
    reference, found = Predictor(description_of(task), engine), open_exported(path, threads=1)
    assert found.description == description_of(task)
    parity = Parity(found.description)
    for count in (1, 3):
        reads = reads_of(count)
        expected = engine.run(reference.stacked(reads))
        outputs = found.engine.run(found.stacked(reads))
        for row, read in enumerate(reads):
            of_row = ({name: of[name][row] for name in of} for of in (expected, outputs))
            parity.add(*of_row, read.prepared, path=read.name)
        for ours, theirs in zip(reference.answer(reads), found.answer(reads), strict=True):
            assert ours.answer.prediction == theirs.answer.prediction
            assert ours.answer.score == pytest.approx(theirs.answer.score, rel=1e-3)
    assert parity.objections() == [], parity.differences
    assert parity.comparisons == 4
    assert {output.dtype for output in outputs.values()} <= {np.dtype("f4"), np.dtype("u1")}


def test_a_classifier_says_the_same_in_each_format(classifier: Path) -> None:
    check_parity(classifier, inspector_of(CLASSIFICATION, reads_mask=True), CLASSIFICATION)


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "classifier without places": (CLASSIFICATION, {}),
    "maps": (RECONSTRUCTION, {}),
    "marks": (SEGMENTATION, {}),
    "tiles in one graph": (SEGMENTATION, {"tiling": Tiling((32, 32), 0.25)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("other", OTHERS)
def test_other_networks_say_the_same_in_each_format(other: str, name: str, tmp_path: Path) -> None:
    task, of = OTHERS[other]
    check_parity(
        write(inspector_of(task, **of), task, tmp_path, name), inspector_of(task, **of), task
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONNX, OPENVINO])
@pytest.mark.parametrize("task", TASKS)
def test_eight_bits_are_smaller_and_nearly_the_same(task: str, name: str, tmp_path: Path) -> None:
    description = description_of(task)
    path = write(inspector_of(task), task, tmp_path, name)
    output = path.with_stem("int8")
    plain = open_exported(path, threads=1)
    seen = [plain.stacked([read]) for read in reads_of(6, first_seed=10)]
    made = dataclasses.replace(description, origin={**description.origin, "int8": True})
    format_of(name).quantise(path, output, made, seen)
    found = open_exported(output, threads=1)
    assert found.description == made
    assert found.engine.name == f"{name}-int8"
    arrays = plain.stacked(reads_of(3))
    expected, outputs = plain.engine.run(arrays), found.engine.run(arrays)
    for key in {"logits", "score", "foreground"} & set(expected):
        apart = float(np.abs(expected[key] - outputs[key]).mean())
        assert 0 < apart < 0.25 * float(np.abs(expected[key]).mean()), key


def test_exported_files_are_known_by_their_names(classifier: Path, tmp_path: Path) -> None:
    assert is_exported(classifier)
    assert is_exported(classifier.parent)
    assert not is_exported(tmp_path)
    assert not is_exported(tmp_path / f"none{classifier.suffix}")
    for name in ("photo.png", "best.ckpt", "run.json"):
        (tmp_path / name).write_bytes(b"x")
        assert not is_exported(tmp_path / name)
    shutil.copy(classifier, tmp_path / classifier.name)
    assert not is_exported(tmp_path), "a run folder is a run"


def test_an_exported_file_tells_nothing_of_the_machine(classifier: Path) -> None:
    content = b"".join(file.read_bytes() for file in classifier.parent.iterdir())
    assert str(Path(exported.__file__).parents[1]).encode() not in content
    assert json.dumps(str(classifier)).encode() not in content


def test_an_exported_file_may_have_any_name_and_its_folder_stands_for_it(copied: Path) -> None:
    for companion in list(copied.parent.iterdir()):
        companion.rename(companion.with_stem("capsules (a=b) 膠囊"))
    found = open_exported(copied.parent, threads=1)
    assert found.description.model == "small"
    assert found.answer(reads_of(2))[0].answer.prediction
    path = copied.with_stem("capsules (a=b) 膠囊")
    assert open_exported(path, threads=1).description == found.description
    shutil.copy(path, copied)
    with pytest.raises(RunError, match="found 2 of them"):
        open_exported(copied.parent, threads=1)


def test_a_damaged_file_is_refused(copied: Path) -> None:
    whole = copied.read_bytes()
    for content in (whole[: len(whole) // 2], b"no model", b"", whole[::-1]):
        copied.write_bytes(content)
        with pytest.raises(RunError, match=r"damaged|was not exported by"):
            open_exported(copied, threads=1)


@pytest.mark.parametrize("name", ["photo.png", "model.bin", "absent.onnx"])
def test_what_is_no_exported_file_is_told_what_is_expected(name: str, tmp_path: Path) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(RunError, match=r"\.xml"):
        open_exported(tmp_path / name, threads=1)


def test_what_a_file_says_of_itself_is_checked(copied: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"format_version": FORMAT_VERSION + 1}, "made by a newer version"),
        ({"classes": None}, "expected the description of an exported model"),
        ({"task": "counting"}, "does not know"),
        ({"task": SEGMENTATION}, "expected a model from image to"),
    ]
    described = description_of(CLASSIFICATION).as_dict()
    texts = {json.dumps({**described, **change}): expected for change, expected in changes}
    texts |= dict.fromkeys(("no JSON", "[1]", ""), r"was not exported by export\.py")
    for text, expected in texts.items():
        retell(copied, text)
        with pytest.raises(RunError, match=expected):
            open_exported(copied, threads=1)


def retell(path: Path, text: str) -> None:
    """Let a file say something else of itself; "" for nothing."""
    if path.suffix == ".onnx":
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {formats.KEY: text} if text else {})
        onnx.save(model, path)
    elif path.suffix == ".xml":
        content = path.read_text(encoding="utf-8")
        said = f'<description value="{html.escape(text)}" />' if text else ""
        changed = re.sub(r"<description value=\"[^\"]*\" ?/>", lambda _: said, content)
        assert changed != content
        path.write_text(changed, encoding="utf-8")
    else:
        with zipfile.ZipFile(path) as archive:
            kept = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, content in kept.items():
                if not name.endswith("description.json"):
                    archive.writestr(name, content)
                elif text:
                    archive.writestr(name, text)


@pytest.mark.parametrize("classifier", [OPENVINO], indirect=True)
def test_an_xml_without_its_weights_or_with_others_is_refused(copied: Path) -> None:
    weights = copied.with_suffix(".bin")
    content = weights.read_bytes()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    with pytest.raises(RunError, match="the weights of another model"):
        open_exported(copied, threads=1)
    weights.unlink()
    with pytest.raises(RunError, match=r"its weights, model\.bin, are not beside it"):
        open_exported(copied, threads=1)


@pytest.mark.parametrize(
    ("name", "module", "int8"),
    [
        (ONNX, "onnx", False),
        (ONNX, "onnxruntime", False),
        (OPENVINO, "openvino", False),
        (OPENVINO, "nncf", True),
    ],
)
def test_missing_packages_are_named_with_what_to_install(
    name: str, module: str, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(formats.sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install -e '\.\[{name}\]'"):
        format_of(name).require(int8=int8)
    if int8:
        format_of(name).require(int8=False)


def test_torchscript_has_no_eight_bits() -> None:
    with pytest.raises(ConfigurationError, match="format=openvino or format=onnx"):
        format_of(TORCHSCRIPT).require(int8=True)
