"""Exported files: each format computes what the model computes, and refuses bad files."""

from __future__ import annotations

import dataclasses
import html
import io
import json
import pickle
import re
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_inference_models import (
    ANOMALY_DETECTION,
    CLASSIFICATION,
    SEGMENTATION,
    TASKS,
    build_images,
    build_inference_model,
    build_metadata,
)

from capsule_inspection.inference import exported
from capsule_inspection.inference.exported import get_format, is_exported, open_exported
from capsule_inspection.inference.formats.base import METADATA_KEY
from capsule_inspection.inference.formats.openvino import _check_graph as check_openvino
from capsule_inspection.inference.metadata import FORMAT_VERSION
from capsule_inspection.inference.parity import Parity
from capsule_inspection.inference.predictor import Predictor, stack
from capsule_inspection.inference.torch_backend import TorchBackend
from capsule_inspection.integrity import file_sha256, seal
from capsule_inspection.models.tiling import Tiling
from capsule_inspection.tasks.inference_model import InferenceModel
from capsule_inspection.types import EXPORT_SUFFIXES, ConfigurationError, RunError

ONNX, OPENVINO, TORCH_EXPORT = FORMATS = ("onnx", "openvino", "torch_export")


def stacked(count: int, *, first_seed: int = 0) -> dict[str, np.ndarray]:
    images = [read.image for read in build_images(count, first_seed=first_seed)]
    return stack([image for image in images if image is not None])


def write(model: InferenceModel, task: str, folder: Path, name: str) -> Path:
    path = folder / f"model{EXPORT_SUFFIXES[name]}"
    model.make_exportable()
    get_format(name).write(model, build_metadata(task), path)
    return path


@pytest.fixture(scope="module", params=FORMATS)
def classifier(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a small classifier with a segmentation head, in each format, in a folder."""
    folder = tmp_path_factory.mktemp("exported")
    model = build_inference_model(CLASSIFICATION, use_mask_logits=True)
    return write(model, CLASSIFICATION, folder, request.param)


@pytest.fixture
def copied(classifier: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return shutil.copytree(classifier.parent, tmp_path / "export") / classifier.name


def check_parity(path: Path, model: InferenceModel, task: str) -> None:
    """The same outputs, predictions and metadata, for one crop and for three."""
    backend = TorchBackend(model, device="cpu", precision="32-true")
    reference, found = Predictor(build_metadata(task), backend), open_exported(path, threads=1)
    assert found.metadata == build_metadata(task)
    parity = Parity(reference.post_processor)
    for count in (1, 3):
        arrays = stacked(count)
        expected, outputs = backend.run(arrays), found.backend.run(arrays)
        for row in range(count):
            of_row = ({name: of[name][row] for name in of} for of in (expected, outputs))
            parity.add(*of_row, valid=arrays["valid"][row] > 0, path=f"{row}.png")
        images = build_images(count)
        for ours, theirs in zip(reference.predict(images), found.predict(images), strict=True):
            assert ours.prediction.predicted_label == theirs.prediction.predicted_label
            assert ours.prediction.score == pytest.approx(theirs.prediction.score, rel=1e-3)
    assert parity.errors() == [], parity.differences
    assert parity.comparisons == 4
    assert {output.dtype.str[1:] for output in outputs.values()} <= {"f4", "f8", "u1"}


def test_a_classifier_predicts_the_same_in_each_format(classifier: Path) -> None:
    model = build_inference_model(CLASSIFICATION, use_mask_logits=True)
    check_parity(classifier, model, CLASSIFICATION)


OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "classifier without a segmentation head": (CLASSIFICATION, {}),
    "autoencoder": (ANOMALY_DETECTION, {}),
    "segmenter": (SEGMENTATION, {}),
    "tiles in one graph": (SEGMENTATION, {"tiling": Tiling((32, 32), 0.25)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("other", OTHERS)
def test_other_models_predict_the_same_in_each_format(
    other: str, name: str, tmp_path: Path
) -> None:
    task, settings = OTHERS[other]
    path = write(build_inference_model(task, **settings), task, tmp_path, name)
    check_parity(path, build_inference_model(task, **settings), task)


@pytest.mark.slow
@pytest.mark.parametrize("name", [ONNX, OPENVINO])
@pytest.mark.parametrize("task", TASKS)
def test_int8_models_compute_nearly_the_same(task: str, name: str, tmp_path: Path) -> None:
    path = write(build_inference_model(task), task, tmp_path, name)
    output = path.with_stem("int8")
    calibration = [stacked(1, first_seed=seed) for seed in range(10, 16)]
    metadata = dataclasses.replace(build_metadata(task), run={"int8": True})
    get_format(name).quantize(path, output, metadata, calibration)
    found = open_exported(output, threads=1)
    assert found.metadata == metadata
    assert found.backend.name == f"{name}-int8"
    arrays = stacked(3)
    expected = open_exported(path, threads=1).backend.run(arrays)
    outputs = found.backend.run(arrays)
    for key in {"logits", "score", "foreground"} & set(expected):
        difference = float(np.abs(expected[key] - outputs[key]).mean())
        assert 0 < difference < 0.25 * float(np.abs(expected[key]).mean()), key


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


def test_an_exported_file_has_no_paths_of_the_machine(classifier: Path) -> None:
    content = b"".join(file.read_bytes() for file in classifier.parent.iterdir())
    assert str(Path(exported.__file__).parents[1]).encode() not in content
    assert json.dumps(str(classifier)).encode() not in content


def test_an_exported_file_may_have_any_name_and_its_folder_stands_for_it(copied: Path) -> None:
    for companion in list(copied.parent.iterdir()):
        companion.rename(companion.with_stem("capsules (a=b) 膠囊"))
    found = open_exported(copied.parent, threads=1)
    assert found.metadata.model == "small"
    assert found.predict(build_images(2))[0].prediction.predicted_label
    path = copied.with_stem("capsules (a=b) 膠囊")
    assert open_exported(path, threads=1).metadata == found.metadata
    shutil.copy(path, copied)
    with pytest.raises(RunError, match="found 2 of them"):
        open_exported(copied.parent, threads=1)


def test_a_damaged_file_is_refused(copied: Path) -> None:
    whole = copied.read_bytes()
    for content in (whole[: len(whole) // 2], b"no model", b"", whole[::-1]):
        copied.write_bytes(content)
        with pytest.raises(RunError, match=r"damaged|the metadata that export\.py writes"):
            open_exported(copied, threads=1)


@pytest.mark.parametrize("name", ["photo.png", "model.bin", "absent.onnx"])
def test_the_error_for_other_files_names_what_is_expected(name: str, tmp_path: Path) -> None:
    if not name.startswith("absent"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(RunError, match=r"\.xml"):
        open_exported(tmp_path / name, threads=1)


def test_the_metadata_of_a_file_is_checked(copied: Path) -> None:
    changes: list[tuple[dict[str, Any], str]] = [
        ({"format_version": FORMAT_VERSION + 1}, f"expected metadata of format {FORMAT_VERSION}"),
        ({"classes": None}, "expected the metadata of an exported model"),
        ({"task": "counting"}, "expected a task of"),
        (build_metadata(SEGMENTATION).as_dict(), "expected a model from image to"),
    ]
    stored = build_metadata(CLASSIFICATION).as_dict()
    texts = {json.dumps({**stored, **change}): expected for change, expected in changes}
    texts |= dict.fromkeys(("no JSON", "[1]", ""), r"the metadata that export\.py writes")
    for text, expected in texts.items():
        replace_metadata(copied, text)
        with pytest.raises(RunError, match=expected):
            open_exported(copied, threads=1)


def replace_metadata(path: Path, text: str) -> None:
    """Store another text as the metadata of a file; "" for none."""
    if path.suffix == ".onnx":
        import onnx

        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.helper.set_model_props(model, {METADATA_KEY: text} if text else {})
        onnx.save(model, path)
    elif path.suffix == ".xml":
        content = path.read_text(encoding="utf-8")
        entry = f'<metadata value="{html.escape(text)}" />' if text else ""
        changed = re.sub(r"<metadata value=\"[^\"]*\" ?/>", lambda _: entry, content)
        assert changed != content
        path.write_text(changed, encoding="utf-8")
    else:
        rewrite(path, f"extra/{METADATA_KEY}.json", lambda _: text.encode())


def rewrite(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    """Change one member of a .pt2 file; an empty one is left out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            changed = change(content) if name.partition("/")[2] == member else content
            if changed or changed == content:
                archive.writestr(name, changed)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def pickled(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Trap(path), buffer, pickle_module=pickle)
    return buffer.getvalue()


def replace_text(old: str, new: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        text = content.decode()
        assert old in text
        return text.replace(old, new).encode()

    return change


GRAPH, WEIGHTS = "models/model.json", "data/weights/model_weights_config.json"


@pytest.mark.parametrize("classifier", [TORCH_EXPORT], indirect=True)
@pytest.mark.parametrize(
    "trap", ["size", "operator", "guard", "weights", "constant", "sample inputs", "structure"]
)
def test_opening_a_pt2_file_runs_nothing_of_it(copied: Path, tmp_path: Path, trap: str) -> None:
    sprung = tmp_path / "sprung"
    code = f"__import__('pathlib').Path('{sprung}').touch()"
    if trap == "size":
        rewrite(copied, GRAPH, replace_text("Symbol('", f"{code} or Symbol('"))
    elif trap == "operator":
        rewrite(copied, GRAPH, replace_text("torch.ops.aten.permute.default", "torch.os.system"))
    elif trap == "guard":
        rewrite(copied, GRAPH, _with_guard(code))
    elif trap == "weights":
        rewrite(copied, WEIGHTS, replace_text('"use_pickle": false', '"use_pickle": true'))
        rewrite(copied, "data/weights/weight_0", lambda _: pickled(sprung))
    elif trap == "constant":
        lists = "data/constants/model_constants_config.json"
        rewrite(copied, lists, replace_text('"tensor_0"', '"opaque_obj_0"'))
    elif trap == "structure":
        rewrite(copied, GRAPH, replace_text("builtins.tuple", "this.enum"))
    else:
        rewrite(copied, "data/sample_inputs/model.pt", lambda _: pickled(sprung))
    if trap in ("guard", "sample inputs"):  # these are left out of what torch loads
        open_exported(copied, threads=1)
    else:
        with pytest.raises(RunError, match="could run code"):
            open_exported(copied, threads=1)
    assert not sprung.exists()


def _with_guard(code: str) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        graph = json.loads(content)
        graph["guards_code"] = [code]
        return json.dumps(graph).encode()

    return change


@pytest.mark.parametrize("classifier", [TORCH_EXPORT], indirect=True)
@pytest.mark.parametrize(
    "operator",
    [
        *("from_file", "_index_put_impl_", "set_", "_sparse_coo_tensor_unsafe", "resize_"),
        *("native_batch_norm", "_native_batch_norm_legit_no_training", "lstm", "gru", "col2im"),
    ],
)
def test_a_pt2_file_has_operators_of_networks_only(copied: Path, operator: str) -> None:
    changed = replace_text("aten.permute.default", f"aten.{operator}.default")
    rewrite(copied, GRAPH, changed)
    with pytest.raises(RunError, match="could run code"):
        open_exported(copied, threads=1)


def _with_sizes(content: bytes) -> bytes:
    weights = json.loads(content)
    tensor = next(iter(weights["config"].values()))["tensor_meta"]
    tensor["sizes"] = [{"as_int": 10**9}] * 2
    return json.dumps(weights).encode()


@pytest.mark.parametrize("classifier", [TORCH_EXPORT], indirect=True)
def test_a_pt2_file_takes_no_more_memory_than_a_network(copied: Path) -> None:
    whole = copied.read_bytes()
    rewrite(copied, WEIGHTS, _with_sizes)
    with pytest.raises(RunError, match="has not that many values"):
        open_exported(copied, threads=1)
    copied.write_bytes(whole)
    bomb = '"as_ints": [100000, 100000, 100000]'
    rewrite(copied, GRAPH, replace_text('"as_ints": [0, 3, 1, 2]', bomb))
    with pytest.raises(RunError, match=r"shape \(100000, 100000, 100000\) would be computed"):
        open_exported(copied, threads=1)
    with zipfile.ZipFile(copied, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model/data/weights/weight_0", bytes(50_000_000))
    with pytest.raises(RunError, match="compressed in an unexpected way"):
        open_exported(copied, threads=1)


@pytest.mark.parametrize("classifier", [ONNX], indirect=True)
@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ("external", "its weights are in another file"),
        ("branch", "graphs or sparse arrays within its graph"),
        ("function", "graphs or sparse arrays within its graph"),
        ("sparse", "graphs or sparse arrays within its graph"),
        ("domain", "operators of com.attacker"),
        ("bomb", r"shape \(100000, 100000, 100000\) would be computed"),
        ("claim", "would be computed"),
    ],
)
def test_an_onnx_file_is_one_graph_with_its_weights_inside(
    copied: Path, attack: str, expected: str
) -> None:
    import onnx

    model = onnx.load(copied)
    graph, helper = model.graph, onnx.helper
    if attack == "external":
        tensor = graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret.bin")
    elif attack == "branch":
        branch = helper.make_graph([], "branch", [], [])
        graph.node.append(
            helper.make_node("If", ["image"], [], then_branch=branch, else_branch=branch)
        )
    elif attack == "function":
        opset = [helper.make_opsetid("", 18)]
        model.functions.append(helper.make_function("own", "f", [], [], [], opset))
    elif attack == "domain":
        graph.node[0].domain = "com.attacker"
    elif attack == "sparse":
        values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "values")
        index = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "index")
        sparse = helper.make_sparse_tensor(values, index, [2**31])
        graph.node.append(helper.make_node("Constant", [], ["big"], sparse_value=sparse))
    elif attack == "bomb":
        graph.initializer.append(
            onnx.numpy_helper.from_array(np.full(3, 100_000, np.int64), "bomb_shape")
        )
        graph.node.append(helper.make_node("ConstantOfShape", ["bomb_shape"], ["bomb"]))
    else:
        graph.initializer[0].dims[0] = 10**12
    onnx.save(model, copied)
    with pytest.raises(RunError, match=expected):
        open_exported(copied, threads=1)


@pytest.mark.parametrize("classifier", [OPENVINO], indirect=True)
def test_an_openvino_file_expands_no_entities_and_takes_no_more_memory_than_a_network(
    copied: Path,
) -> None:
    import openvino

    text = copied.read_text(encoding="utf-8")
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    bomb = f'<!DOCTYPE net [<!ENTITY e0 "{"a" * 100}">{entities}]>'
    start = text.index("<net")
    for changed in (
        text[:start] + bomb + text[start:].replace('value="', 'value="&e9;', 1),
        re.sub(r'offset="0" size="\d+"', 'offset="0" size="99999999999"', text),
        "<net>" * 100_000,
    ):
        copied.write_text(changed, encoding="utf-8")
        with pytest.raises(RunError, match="damaged"):
            open_exported(copied, threads=1)
    opset = openvino.opset13
    shape = opset.constant(np.full(3, 100_000, np.int64))
    model = openvino.Model([opset.broadcast(opset.constant(np.float32(1)), shape)], [], "bomb")
    with pytest.raises(ValueError, match="would be computed"):
        check_openvino(model)


@pytest.mark.parametrize("classifier", [TORCH_EXPORT], indirect=True)
def test_a_file_is_compared_with_the_record_of_its_export(
    copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_exported(copied, threads=1)
    assert "without its export.json damage may not be noticed" in caplog.text
    caplog.clear()
    record = copied.with_name("export.json")
    values = {"files": {"model.pt2": file_sha256(copied)}, "run": {}}
    record.write_text(json.dumps(seal(values)))
    renamed = copied.rename(copied.with_stem("renamed"))
    open_exported(renamed, threads=1)
    assert not caplog.records
    rewrite(renamed, "extra/unused", bytes)  # the same members, other bytes
    with pytest.raises(RunError, match=r"changed since it was exported.*verify=skip"):
        open_exported(renamed, threads=1)
    open_exported(renamed, threads=1, verify=False)
    for damage in (json.dumps(values), "[" * 100_000, json.dumps(seal({"files": 5})), ""):
        record.write_text(damage)
        with pytest.raises(RunError, match=r"export\.json: damaged"):
            open_exported(renamed, threads=1)


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
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"pip install -e '\.\[{name}\]'"):
        get_format(name).require(int8=int8)
    if int8:
        get_format(name).require(int8=False)


def test_torch_export_has_no_int8_models() -> None:
    with pytest.raises(ConfigurationError, match="format=openvino or format=onnx"):
        get_format(TORCH_EXPORT).require(int8=True)
