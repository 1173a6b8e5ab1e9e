"""Which files are listed below a folder, and which are images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from image_folders import write_images

from capsule_inspection.data.layouts.tree import FileTree, scan_tree
from capsule_inspection.types import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def test_hidden_and_system_files_and_those_of_runs_are_told_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/n.txt", "._1.png", "Thumbs.db", "__MACOSX/a/1.png", ".git/x.png")
    touch(tmp_path, "out/prediction.json", "out/overlays/1.png")
    touch(tmp_path, "run/run.json", "run/config.yaml", "run/images/1.jpg", "data/cache/masks/1.png")
    tree = scan_tree(tmp_path, own_folders=[tmp_path / "data/cache"])
    assert tree.files == ("a/1.png", "b/n.txt")
    assert tree.images == ("a/1.png",)
    assert set(tree.system) == {"._1.png", "Thumbs.db", "__MACOSX", ".git"}
    assert tree.predictions == ("data/cache", "out", "run")


def test_files_without_a_usual_suffix_are_images_by_their_first_bytes(tmp_path: Path) -> None:
    write_images(tmp_path, ["a.JFIF", "b", "c.png_large", "d.PNG"])
    (tmp_path / "x.dng").write_bytes(b"II*\0" + bytes(60))
    (tmp_path / "y").write_bytes(b"BM, a text that begins like a bitmap")
    (tmp_path / "z.txt").write_bytes((tmp_path / "d.PNG").read_bytes())
    (tmp_path / "d.png~").write_bytes((tmp_path / "d.PNG").read_bytes())
    assert scan_tree(tmp_path).images == ("a.JFIF", "b", "c.png_large", "d.PNG")


def test_a_folder_named_like_an_image_is_a_folder_and_a_broken_link_is_an_image(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a.png/1.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert scan_tree(tmp_path).images == ("a.png/1.png", "gone.png")


def test_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "labels.json")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "linked.png").symlink_to(tmp_path / "pipe")
    tree = scan_tree(tmp_path)
    assert tree.files == tree.images == ("1.png",)
    assert set(tree.system) == {"pipe", "labels.json", "zero.csv", "linked.png"}


def test_questions_about_folders_are_answered_from_the_list(tmp_path: Path) -> None:
    tree = scan_tree(touch(tmp_path, "a/b/1.png", "a/2.png", "a0/3.png", "a-/4.png", "c/d/e/n.txt"))
    assert tree.images_in("a") == ["a/2.png"]
    assert list(tree.images_below("a")) == ["a/2.png", "a/b/1.png"]
    assert list(tree.images_below()) == list(tree.images)
    assert tree.subfolders() == ["a", "a-", "a0", "c"]
    assert tree.subfolders("c") == ["d"]
    assert tree.folders == ("a", "a-", "a/b", "a0", "c", "c/d", "c/d/e")
    assert tree.subtree("a") == FileTree(tmp_path / "a", ("2.png", "b/1.png"))


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("b", ["a/1.png", "a/2.bmp"]),
        ("*.bmp", ["a/1.png", "a/b/3.png", "b/4.png"]),
        ("a/b", ["a/1.png", "a/2.bmp", "b/4.png"]),
        ("./a/", ["b/4.png"]),
        ("**/b", ["a/1.png", "a/2.bmp"]),
    ],
)
def test_patterns_leave_out_files_and_folders(
    tmp_path: Path, pattern: str, left: list[str]
) -> None:
    touch(tmp_path, "a/1.png", "a/2.bmp", "a/b/3.png", "b/4.png")
    tree = scan_tree(tmp_path, exclude=[pattern, "nothing"])
    assert list(tree.files) == left
    assert tree.excluded
    assert tree.idle_patterns == ("nothing",)


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "all/1.png")
    elsewhere = touch(tmp_path / "elsewhere", "2.png")
    for name, target in (("train", root / "all"), ("more", elsewhere), ("up", root)):
        (root / name).symlink_to(target)
    (elsewhere / "round").symlink_to(root)
    (elsewhere / "other").symlink_to(elsewhere)
    tree = scan_tree(root)
    assert {"all/1.png", "train/1.png", "more/2.png"} <= set(tree.files)
    assert {"up", "more/other", "more/round"} <= set(tree.circles)
    assert tree.same_file(tree.images)["train/1.png"] == "all/1.png"


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "d"
    touch(path, "1.png")
    os.rename(os.fsencode(path), os.fsencode(tmp_path) + b"/d\xe9")  # noqa: PTH104 - bytes
    (name,) = scan_tree(tmp_path).images
    assert os.fsencode(name) == b"d\xe9/1.png"


def test_a_missing_root_and_an_unreadable_folder_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"there is no such folder; .*Set data\.root"):
        scan_tree(tmp_path / "nowhere")
    touch(tmp_path, "a/1.png")
    with pytest.raises(DataError, match="is a file"):
        scan_tree(tmp_path / "a/1.png")

    def deny(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "folder")

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(DataError, match=r"may not be read \(Permission denied\).*data\.exclude"):
        scan_tree(tmp_path)
