"""What the page of `app.py` looks like, and what it calls; Gradio's components."""

from __future__ import annotations

import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio

from capsule_inspection.workflows.app_uploads import LIFETIME_S

if TYPE_CHECKING:
    from capsule_inspection.inference.metadata import ModelMetadata
    from capsule_inspection.workflows.app import Displayed

log = logging.getLogger(__name__)
CSS = """
.gradio-container { max-width: 72rem !important; margin: auto; }
h1 { font-size: 1.6rem; font-weight: 700; margin: .5rem 0; overflow-wrap: anywhere; }
.headline { font-size: 1.4rem; font-weight: 700; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.headline.bad { color: #b3261e; }
.headline.good { color: #1b5e20; }
.headline.near, .headline.none { color: #8a5a00; }
.facts td { padding: .2rem .6rem !important; vertical-align: top; overflow-wrap: anywhere; }
.facts td:first-child { white-space: nowrap; }
.warning { color: #8a5a00; font-weight: 600; }
"""


def lay_out(
    predict: Callable[[str | None], Displayed],
    check: Callable[[str], str],
    *,
    metadata: ModelMetadata,
    name: str,
    has_similar: bool,
) -> gradio.Blocks:
    """The page, which calls `predict` with the path of each upload that passes `check`."""
    title = f"{metadata.model}: is this part good?"

    def predict_upload(path: str | None) -> Displayed:
        checked = None if path is None else check(path)
        try:
            return predict(checked)
        except Exception as error:
            log.exception("The prediction of an upload failed.")
            message = "The prediction failed. The reason is in the log of app.py."
            raise gradio.Error(message, print_exception=False) from error

    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.HTML(
            f"<h1>{escape(title)}</h1><p>Predictions of the run <code>{escape(name)}</code>, task "
            f"{escape(metadata.task)}. They are computed on this machine: nothing is sent "
            f"elsewhere, and images are deleted after {LIFETIME_S // 60} minutes.</p>"
        )
        with gradio.Row():
            with gradio.Column(scale=2):
                upload = gradio.File(label="Drop an image here", elem_id="upload")
                _take_uploads_only(upload, check)
                text = gradio.HTML(elem_id="prediction")
            with gradio.Column(scale=3):
                overlay = gradio.Image(
                    label="Input of the model, with its prediction",
                    interactive=False,
                    buttons=["fullscreen", "download"],
                    elem_id="overlay",
                )
                similar = gradio.Gallery(
                    label="Most similar training images",
                    columns=4,
                    height="auto",
                    buttons=["fullscreen"],
                    visible=has_similar,
                    elem_id="similar",
                )
        upload.change(
            predict_upload, inputs=upload, outputs=[text, overlay, similar], api_name="predict"
        )
    return page


def _take_uploads_only(upload: Any, check: Callable[[str], str]) -> None:
    """Let the component take uploaded files only.

    A client of the API may name any path or URL instead, which Gradio would copy or fetch. It has
    no setting against that, so the method that does it is replaced, on this component alone.
    """

    async def check_uploaded(path: str | Path | None) -> str | None:
        return None if path is None else check(str(path))

    upload.async_move_resource_to_block_cache = check_uploaded
