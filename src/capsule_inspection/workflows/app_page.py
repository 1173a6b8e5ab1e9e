"""The page of app.py: Gradio's events around HTML of our own.

What is uploaded and chosen is a state of the session on the server; the browser names uploads, rows
and thresholds, which are checked here.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import gradio
from omegaconf import DictConfig

from capsule_inspection.reports.gallery.page import is_near_threshold, prediction_html
from capsule_inspection.reports.html import TEMPLATES, environment
from capsule_inspection.reports.plots.overlays import encode_png, heat_legend
from capsule_inspection.reports.run.test_result import describe_result
from capsule_inspection.workflows.app_server import LOCAL_HOSTS
from capsule_inspection.workflows.app_uploads import LIFETIME_S, MAX_FILES

if TYPE_CHECKING:
    from capsule_inspection.workflows.app_predictions import AppModel, Displayed

log = logging.getLogger(__name__)
_SELECT = """element.addEventListener("click", event => {
  const chosen = event.target.closest("[data-row]");
  if (chosen) trigger("select", {row: Number(chosen.dataset.row)});
});"""
_SLIDE = """const range = element.querySelector("input"), shown = element.querySelector("output");
function send() {
  const isOwn = Number(range.value) === Number(range.defaultValue);
  shown.value = isOwn ? range.defaultValue : range.value;
  trigger("change", {threshold: isOwn ? null : Number(range.value)});
}
element.addEventListener("input", () => { shown.value = range.value; });
element.addEventListener("change", send);
element.querySelector("button").addEventListener("click", () => {
  range.value = range.defaultValue;
  send();
});"""


class Chosen(NamedTuple):
    """What a session displays; `threshold` None is that of the model."""

    files: Sequence[str] = ()
    row: int = 0
    threshold: float | None = None


class Page:
    """The functions behind the events; each returns HTML and what is chosen now."""

    def __init__(self, model: AppModel, *, max_bytes: int) -> None:
        self.model = model
        self._max_bytes = max_bytes
        self.slider = model.slider()
        self.parts: Any = environment().get_template("app.html.j2").module
        heat = base64.b64encode(encode_png(heat_legend(240, 24))).decode("ascii")
        self._heat = f"data:image/png;base64,{heat}"

    def upload(self, chosen: Chosen, event: gradio.EventData) -> Iterator[tuple[str, Chosen]]:
        """Predict uploaded files, and display them as they come."""
        files = _named(event, "files")
        if not isinstance(files, list) or not 0 < len(files) <= MAX_FILES:
            raise _refusal(f"Expected the names of up to {MAX_FILES} uploaded files.")
        yield from self._predict(Chosen(files, 0, chosen.threshold))

    def use_example(self, chosen: Chosen, event: gradio.EventData) -> Iterator[tuple[str, Chosen]]:
        """Predict an image of the run, as if it were uploaded."""
        example = self.model.examples[_index(event, len(self.model.examples))]
        if not example.is_there(self._max_bytes):
            raise _refusal("This example is no longer where the run has read it.")
        path = self.model.uploads.keep(example.path.read_bytes(), example.path.name)
        yield from self._predict(Chosen([str(path)], 0, chosen.threshold))

    def select(self, chosen: Chosen, event: gradio.EventData) -> tuple[str, Chosen]:
        """Display the details of another row."""
        chosen = chosen._replace(row=_index(event, len(chosen.files)))
        return self._show(chosen, chosen.files), chosen

    def slide(self, chosen: Chosen, event: gradio.EventData) -> tuple[str, str, Chosen]:
        """Decide by another threshold; also what it does on the test images."""
        value = _named(event, "threshold")
        if value is not None and (self.slider is None or not self.slider.has(value)):
            raise _refusal("Expected a threshold.")
        chosen = chosen._replace(threshold=value)
        shown = self._show(chosen, chosen.files) if chosen.files else ""
        return shown, self.effects(value), chosen

    def effects(self, threshold: float | None) -> str:
        """The test result by a threshold."""
        result = self.model.result
        moved = result if result is None or threshold is None else result.at(threshold)
        return str(self.parts.effects(describe_result(moved), threshold, result is not None))

    def _predict(self, chosen: Chosen) -> Iterator[tuple[str, Chosen]]:
        for count in range(1, len(chosen.files) + 1):
            yield self._show(chosen, chosen.files[:count]), chosen

    def _show(self, chosen: Chosen, files: Sequence[str]) -> str:
        for path in files:
            if not isinstance(path, str) or not self.model.uploads.has(path):
                raise _refusal(
                    "This is no uploaded file, or it was deleted. URLs are not fetched: upload the "
                    "image itself."
                )
        try:
            found = [self.model.predict(Path(path), chosen.threshold) for path in files]
            return self._render(found, chosen.row)
        except Exception as error:
            log.exception("The prediction of an upload failed.")
            raise _refusal("The prediction failed. The reason is in the log of app.py.") from error

    def _render(self, found: Sequence[Displayed], row: int) -> str:
        task, shown = self.model.predictor.metadata.task, found[row]
        table = ""
        if len(found) > 1:
            rows = [of.row | {"is_near": is_near_threshold(of.row, task)} for of in found]
            table = str(self.parts.table(rows, row, task))
        return table + prediction_html(
            shown.row,
            task,
            pictures=self.parts.pictures(shown, self._heat, task),
            similar=self.parts.similar(shown),
        )


def _named(event: gradio.EventData, name: str) -> Any:
    return event._data.get(name) if isinstance(event._data, dict) else None


def _index(event: gradio.EventData, count: int) -> int:
    row = _named(event, "row")
    if type(row) is not int or not 0 <= row < count:
        raise _refusal("There is no such row.")
    return row


def _refusal(message: str) -> gradio.Error:
    return gradio.Error(message, print_exception=False)


def lay_out(model: AppModel, config: DictConfig) -> gradio.Blocks:
    """The page of a model."""
    page = Page(model, max_bytes=config.max_upload_mb * 2**20)
    metadata = model.predictor.metadata
    quality = "none" if model.result is None else "" if model.result.is_usable else "bad"
    head = page.parts.head(
        metadata,
        metadata.run.get("name", model.path.name),
        describe_result(model.result),
        quality,
        config.host in LOCAL_HOSTS,
        LIFETIME_S // 60,
    )
    title = f"{metadata.model}: is this part good?"
    with gradio.Blocks(title=title, analytics_enabled=False) as blocks:
        chosen = gradio.State(Chosen())
        examples = slider = effects = None
        _html(head, "head")
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300):
                upload = _html(
                    page.parts.upload(MAX_FILES, config.max_upload_mb),
                    "upload",
                    (TEMPLATES / "app_upload.js").read_text(encoding="utf-8"),
                    max_files=MAX_FILES,
                )
                if model.examples:
                    parts = page.parts.examples(model.examples, model.examples_split)
                    examples = _html(parts, "examples", _SELECT)
            if page.slider is not None:
                with gradio.Column(scale=1, min_width=300):
                    slider = _html(page.parts.slider(page.slider), "threshold", _SLIDE)
                    effects = _html(page.effects(None), "effects")
        result = _html("", "prediction", _SELECT)
        # Gradio loses an event now and then: with another mode it would take no further one.
        shown: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "multiple"}
        shown |= {"inputs": chosen, "outputs": [result, chosen]}
        upload.upload(page.upload, **shown)
        result.select(page.select, **shown)
        if examples is not None:
            examples.select(page.use_example, **shown)
        if slider is not None:
            slide = shown | {"outputs": [result, effects, chosen]}
            slider.change(page.slide, **slide, show_progress="hidden")
    return blocks


def _html(value: Any, elem_id: str, script: str | None = None, **props: Any) -> gradio.HTML:
    """HTML; what it shows is never a template of Gradio's, but a value."""
    return gradio.HTML(
        str(value), elem_id=elem_id, js_on_load=script, apply_default_css=False, **props
    )
