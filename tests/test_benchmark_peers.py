"""Images, commands and arithmetic of the comparison with other libraries; nothing is timed here."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers.__main__ import main, parse, summarize
from benchmarks.peers.commands import Command, MissingPeerError, Row, run
from benchmarks.peers.environments import read_versions
from benchmarks.peers.images import Images, prepare_images
from benchmarks.peers.others import find_script
from benchmarks.peers.ours import FLOAT32, Ours
from benchmarks.training import compose


def test_both_sides_get_the_same_images_in_their_layouts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    counts = {"train/good": 20, "test/good": 5, "test/crack": 10, "test/poke": 3}
    for folder, count in counts.items():
        for number in range(count):
            write_image(root / folder / f"{number:03d}.png", value=len(folder) + number)
            if folder != "test/good" and folder.startswith("test"):
                mask = root / "ground_truth" / Path(folder).name / f"{number:03d}_mask.png"
                write_image(mask, value=255)
    images = prepare_images(root, tmp_path / "images", images=15, predicted=40)
    splits = Counter(path.parts[-3] for path in images.classes.rglob("*.png"))
    assert splits == {"train": 14, "val": 3, "test": 3}
    classes = {path.parts[-3:-1] for path in images.classes.rglob("*.png")}
    names = ["crack", "good", "poke"]
    assert classes == {(split, name) for split in ("train", "val", "test") for name in names}
    assert images.class_names == names
    one_class = {path.parts[-3:-1] for path in images.one_class.glob("t*/*/*")}
    assert one_class == {("train", "good"), ("test", "good"), ("test", "crack"), ("test", "poke")}
    defects = images.one_class.glob("test/[cp]*/*")
    masks = images.one_class.glob("ground_truth/*/*")
    assert {path.stem for path in masks} == {f"{path.stem}_mask" for path in defects}
    assert len(list(images.input.iterdir())) == 40
    assert contents(images.input) == contents(images.classes)
    assert {path.read_bytes() for path in images.one_class.glob("t*/*/*")} == contents(images.input)


def write_image(path: Path, *, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)


def contents(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in folder.rglob("*.png")}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["rows=[training]"], "expected some of train, patchcore"),
        (["round=3"], "Settings are name=value, of rows, rounds"),
        (["rounds=some"], "could not be converted to Integer"),
        (["epochs=0"], "epochs=0: expected 1 or more"),
        (["data.root=/nowhere"], "/nowhere: expected the layout of MVTec AD"),
    ],
)
def test_wrong_settings_are_refused_in_one_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_rows_and_sizes_can_be_chosen() -> None:
    settings = parse(["rows=[predict,help]", "images=20", "data.root=/capsule"])
    assert settings.rows == ["predict", "help"]
    assert (settings.images, settings.rounds, settings.data.root) == (20, 3, "/capsule")


def test_a_command_begins_without_its_output_and_with_what_it_needs(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; Path('log').open('a').write(sys.argv[1]); "
    trained = Command(
        (sys.executable, "-c", f"{code} Path('trained').mkdir()", "t"), output=tmp_path / "trained"
    )
    predict = Command(
        (sys.executable, "-c", f"{code} Path('table').mkdir(); print(0.25)", "p"),
        output=tmp_path / "table",
        cold=tmp_path / "cache",
        needs=trained,
        prints_seconds=True,
    )
    (tmp_path / "cache").mkdir()
    assert run(predict, tmp_path)[0] == 0.25
    assert run(predict, tmp_path)[0] == 0.25
    assert (tmp_path / "log").read_text() == "tpp"
    assert not (tmp_path / "cache").exists()
    with pytest.raises(RuntimeError, match="expected exit status 2, found 0"):
        run(Command((sys.executable, "-c", ""), statuses=(2,)), tmp_path)


def test_ratios_are_ours_to_each_peer_and_missing_peers_have_their_reason() -> None:
    command = Command(())
    row = Row("train", {"ours": command, "ours, cold": command}, {"b": command}, {"c": "no script"})
    seconds = {"ours": [1.0, 2.0], "ours, cold": [6.0, 8.0], "b": [4.0, 4.0]}
    found = {
        one.metric: one for one in summarize(row, seconds, {"ours": 10, "ours, cold": 30, "b": 20})
    }
    assert found["train: ours / b"].samples == (0.25, 0.5)
    assert found["train: ours, cold / b"].target == 1.0
    assert found["train: ours, cold / b, peak memory"].samples == (1.5,)
    assert found["train: b"].samples == (4.0, 4.0)
    assert found["train: c"].value is None
    assert found["train: c"].note == "no script"


def test_our_commands_have_valid_settings(tmp_path: Path) -> None:
    images = Images(*(tmp_path / name for name in ("classes", "one_class", "input", "textures")))
    ours = Ours(images, tmp_path, epochs=5, bank=1000)
    classifier = compose(ours.classifier("run", FLOAT32).arguments[2:])
    assert (classifier.task.epochs, classifier.task.batch_size) == (5, 32)
    assert classifier.data.root == str(images.classes)
    assert classifier.data.synthetic_defects == 0
    assert compose(ours.patchcore("run").arguments[2:]).model.coreset_size == 1000
    autoencoder = compose(ours.autoencoder().arguments[4:])
    assert (autoencoder.task.repeats, autoencoder.task.crop_size) == (1, None)
    sizes = [tuple(config.task.image_size) for config in (classifier, autoencoder)]
    assert sizes == [(224, 224), (256, 256)]


def test_all_environments_have_this_torch_and_pinned_peers() -> None:
    versions = read_versions()
    assert set(versions) == {"anomalib", "ultralytics", "timm"}
    for packages in versions.values():
        assert all("==" in package for package in packages)
        assert [package.split("==")[0] for package in packages[:2]] == ["torch", "torchvision"]


def test_a_peer_without_its_repository_is_left_out_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(MissingPeerError, match="set checkouts= to a folder"):
        find_script(None, "timm", "train.py")
    script = tmp_path / "timm" / "train.py"
    script.parent.mkdir()
    script.touch()
    assert find_script(tmp_path, "timm", "train.py") == str(script)
