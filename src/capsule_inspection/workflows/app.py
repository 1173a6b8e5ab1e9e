"""`app.py`: a local web page that predicts uploaded images.

The page is Gradio's, the predictions are those of predict.py. Uploads are read by the package's own
reader, which checks format and number of pixels before it decodes anything.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

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
from capsule_inspection.workflows.app_folder import private_folder
from capsule_inspection.workflows.load_run import choose_runtime, load_predictor
from capsule_inspection.workflows.record import FINISHED

if TYPE_CHECKING:
    import gradio as gr

log = logging.getLogger(__name__)
OUTPUTS = Path("outputs")
_MIN_WIDTH_PX = 1024
"""Overlays are enlarged to at least this width."""
Displayed = tuple[str, "np.ndarray | None", "list[tuple[np.ndarray, str]]"]
"""HTML text, the overlay, and similar training images with their captions."""


def serve(config: DictConfig) -> None:
    """Serve as `conf/app.yaml` says, until it is stopped.

    Raises RunError where the run cannot be used, ConfigurationError where Gradio is not installed.
    """
    with private_folder() as folder:
        _import_gradio(folder)
        from capsule_inspection.workflows.app_guard import LOCAL_HOSTS
        from capsule_inspection.workflows.app_server import serve_page
        from capsule_inspection.workflows.app_uploads import Uploads

        uploads = Uploads(folder, config)
        page = build_page(config, uploads.check)
        if config.host not in LOCAL_HOSTS:
            log.warning(
                "host=%s: everybody who can reach this machine can use the page, without a "
                "password.",
                config.host,
            )
        serve_page(page, uploads, config)


def build_page(config: DictConfig, check: Callable[[str], str]) -> gr.Blocks:
    """The page of a run; `check` raises gradio.Error for a path that is not of an upload."""
    from capsule_inspection.workflows.app_page import lay_out

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
        check,
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


def _import_gradio(folder: Path) -> None:
    """Import it so that it keeps its files in a folder, and sends nothing."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"app.py needs Gradio, which cannot be imported ({error}). Install it with "
            "pip install -e '.[app]'."
        ) from error
