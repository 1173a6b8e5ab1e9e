from __future__ import annotations

from capsule_inspection.data.file_facts import FileFacts
from capsule_inspection.data.image_notes import CMYK, EXIF_TURNED, NotedImage, image_warnings


def noted(number: int, *notes: str, bit_depth: int = 8, max_value: int = 255) -> NotedImage:
    facts = FileFacts(
        *(1, 1, "", 48, 32), bit_depth=bit_depth, max_value=max_value, notes=tuple(notes)
    )
    return NotedImage(f"{number}.png", ("good", "crack")[number % 2], facts)


def test_each_note_is_one_sentence_with_its_count_and_the_first_image() -> None:
    images = [noted(0), noted(1, EXIF_TURNED, CMYK), noted(2, CMYK), noted(3, EXIF_TURNED)]
    (sentence,) = image_warnings(images)  # that EXIF turns an image is ordinary
    assert sentence.startswith("2 of 4 images are CMYK without a colour profile")
    assert sentence.endswith("(the first is 1.png).")
    (of_one,) = image_warnings([noted(0, CMYK)])
    assert of_one.startswith("Images like this are CMYK without a colour profile")


def deep(values: list[int]) -> list[NotedImage]:
    return [noted(number, bit_depth=16, max_value=value) for number, value in enumerate(values)]


def test_a_found_depth_is_said_unless_it_is_that_of_the_files() -> None:
    images = deep([4095] * 4)
    (sentence,) = image_warnings(images, found_depth=12)
    assert "No value in 4 16-bit files is above 4095: they are read as images of 12" in sentence
    assert image_warnings(images) == ()  # a setting has named it
    assert image_warnings(deep([65535] * 4), found_depth=16) == ()


def test_few_files_that_make_all_others_darker_are_named() -> None:
    (sentence,) = image_warnings(deep([4000] * 29 + [65535]), found_depth=16)
    assert sentence.startswith(
        "1 of 30 16-bit files have values above 4095 (the first is 29.png), and so all are read as "
        "images of 16 bits"
    )
    assert image_warnings(deep([4000] * 15 + [65535] * 15), found_depth=16) == ()


def test_mixed_depths_name_the_classes() -> None:
    images = [*deep([65535] * 2), noted(2), noted(3)]
    (sentence,) = image_warnings(images, found_depth=16)
    assert "2 of 4 images have more than 8 bits per channel" in sentence
    assert "(crack: 1 of 2, good: 1 of 2)" in sentence
    assert "goes with the class" not in sentence
