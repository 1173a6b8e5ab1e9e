"""`app.py`: a local web page that predicts uploaded images.

The page is Gradio's, the predictions are those of predict.py. Uploads are read by the package's own
reader, which checks format and number of pixels before it decodes anything.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from capsule_inspection.data.image_notes import note_sentences
from capsule_inspection.inference.embeddings import TrainingEmbeddings, load_embeddings
from capsule_inspection.inference.predictions import Visualization
from capsule_inspection.inference.predictor import ALL, Predictor
from capsule_inspection.integrity import check_files
from capsule_inspection.reports.gallery.page import prediction_html
from capsule_inspection.reports.plots.overlays import compose
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import ConfigurationError, RunError, RunFiles
from capsule_inspection.workflows.load_run import choose_runtime, load_predictor
from capsule_inspection.workflows.record import FINISHED

if TYPE_CHECKING:
    import gradio as gr

    from capsule_inspection.inference.metadata import ModelMetadata
    from capsule_inspection.workflows.app_uploads import Uploads

log = logging.getLogger(__name__)
OUTPUTS = Path("outputs")
_MIN_WIDTH_PX = 1024
"""Overlays are enlarged to at least this width."""
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
Displayed = tuple[str, "np.ndarray | None", "list[tuple[np.ndarray, str]]"]
"""HTML text, the overlay, and similar training images with their captions."""


def serve(config: DictConfig) -> None:
    """Serve as `conf/app.yaml` says, until it is stopped.

    Raises RunError where the run cannot be used, ConfigurationError where Gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigurationError("app.py needs Gradio. Install it with pip install -e '.[app]'.")
    from capsule_inspection.workflows.app_uploads import Uploads, private_folder

    with private_folder() as folder:
        set_gradio_environment(folder)
        from capsule_inspection.workflows.app_server import LOCAL_HOSTS, serve_page

        uploads = Uploads(folder, config)
        page = build_page(config, uploads)
        if config.host not in LOCAL_HOSTS:
            log.warning(
                "host=%s: everybody who can reach this machine can use the page, without a "
                "password.",
                config.host,
            )
        serve_page(page, uploads, config, css=CSS)


def set_gradio_environment(folder: Path) -> None:
    """Let Gradio, which is imported afterwards, keep its files in a folder and send nothing."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def build_page(config: DictConfig, uploads: Uploads) -> gr.Blocks:
    """The page of a run."""
    path = Path(config.run) if config.run else find_latest_run(OUTPUTS)
    runtime = choose_runtime(path, config.trainer)
    predictor = load_predictor(
        path,
        runtime,
        max_pixels=config.max_pixels,
        bit_depth=config.bit_depth,
        threshold=config.threshold.value,
        verify=config.verify == "full",
    )
    embeddings = None
    if config.neighbours and (path / RunFiles.EMBEDDINGS).is_file():
        if config.verify == "full":
            check_files(path, read_record(path), (RunFiles.EMBEDDINGS,))
        embeddings = load_embeddings(path / RunFiles.EMBEDDINGS)
    predict = build_predict(predictor, embeddings, count=config.neighbours)
    return lay_out(
        predict,
        uploads,
        metadata=predictor.metadata,
        name=path.name,
        has_similar=embeddings is not None,
    )


def find_latest_run(outputs: Path) -> Path:
    """The run below a folder that finished last. Raises RunError where there is none."""
    finished: dict[str, Path] = {}
    for path in outputs.rglob(RunFiles.RECORD):
        if not (path.parent / RunFiles.BEST).is_file():
            continue
        try:
            record = read_record(path.parent)
        except RunError as error:
            log.warning("%s It is skipped.", error)
            continue
        if record.get("status") == FINISHED:
            finished[str(record.get("finished"))] = path.parent
    if not finished:
        raise RunError(
            f"run=null: there is no finished run in {outputs}/. Train one with make train, or name "
            "a run folder: python app.py run=..."
        )
    return finished[max(finished)]


def build_predict(
    predictor: Predictor, embeddings: TrainingEmbeddings | None, *, count: int
) -> Callable[[str | None], Displayed]:
    """A function from the path of an upload to what is displayed of it."""
    lock = threading.Lock()  # gradients for explanations are computed for one image at a time

    def predict(upload: str | None) -> Displayed:
        if upload is None:
            return "", None, []
        file = predictor.read(Path(upload))
        with lock:
            (predicted,) = predictor.predict([file], explain=ALL)
            similar = []
            if embeddings is not None and file.image is not None:
                vectors = predictor.backend.call("embedding", file.image.image[None])
                similar = [] if vectors is None else embeddings.nearest(vectors[0], count)
        captioned = [(of.picture, f"{of.class_name}, {of.similarity:.0%} alike") for of in similar]
        name = Path(upload).name
        notes = note_sentences([(name, predicted.notes)], total=1)
        row = {**predicted.prediction.as_row(), "path": name, "notes": notes}
        text = prediction_html(row, predictor.metadata.task)
        return text, _draw_overlay(predicted.visualization), captioned

    return predict


def _draw_overlay(drawn: Visualization | None) -> np.ndarray | None:
    if drawn is None:
        return None
    return compose(
        drawn.image,
        heat=drawn.heatmap,
        mask=drawn.mask,
        outlines=() if drawn.mask is None else (drawn.mask,),
        width_px=max(_MIN_WIDTH_PX, drawn.image.shape[1]),
    )


def lay_out(
    predict: Callable[[str | None], Displayed],
    uploads: Uploads,
    *,
    metadata: ModelMetadata,
    name: str,
    has_similar: bool,
) -> gr.Blocks:
    """The page, which calls `predict` with the path of each upload."""
    import gradio

    from capsule_inspection.workflows.app_uploads import LIFETIME_S

    title = f"{metadata.model}: is this part good?"

    def check(path: str | None) -> None:
        if path is not None and not uploads.has(path):
            raise gradio.Error(
                "This is no uploaded file, or it was deleted. URLs are not fetched: upload the "
                "image itself.",
                print_exception=False,
            )

    async def keep_uploaded(path: str | None) -> str | None:
        check(path)
        return path

    def predict_upload(path: str | None) -> Displayed:
        check(path)  # again: Gradio does not call the above for all requests
        try:
            return predict(path)
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
                upload: Any = gradio.File(label="Drop an image here", elem_id="upload")
                # Gradio would copy any path and fetch any URL, and has no setting against it.
                upload.async_move_resource_to_block_cache = keep_uploaded
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
