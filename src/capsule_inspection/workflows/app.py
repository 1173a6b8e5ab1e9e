"""`app.py`: a local web page that predicts uploaded images.

The page is Gradio's, the predictions are those of predict.py. Uploads are read by the package's own
reader, which checks format and number of pixels before it decodes anything.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

from capsule_inspection.data.image_notes import note_sentences
from capsule_inspection.inference.embeddings import TrainingEmbeddings, load_embeddings
from capsule_inspection.inference.predictions import Visualization
from capsule_inspection.inference.predictor import ALL, Predictor
from capsule_inspection.reports.gallery.page import prediction_html
from capsule_inspection.reports.plots.overlays import compose
from capsule_inspection.reports.run.files import read_record
from capsule_inspection.types import ConfigurationError, RunError, RunFiles
from capsule_inspection.workflows.load_run import choose_runtime, load_predictor
from capsule_inspection.workflows.record import FINISHED

if TYPE_CHECKING:
    import gradio as gr

log = logging.getLogger(__name__)
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
OUTPUTS = Path("outputs")
_MAX_QUEUE = 64
_UPLOAD_LIFETIME_S = 600
_MIN_WIDTH_PX = 1024
"""Overlays are enlarged to at least this width."""
_CSS = """
.gradio-container { max-width: 72rem !important; margin: auto; }
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
    """Serve as `conf/app.yaml` says, until it is stopped."""
    page = build_page(config)
    if config.host not in LOCAL_HOSTS:
        log.warning(
            "host=%s: everybody who can reach this machine can use the page, without a password.",
            config.host,
        )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio calls itself to see if it is up
    _, address, _ = launch(page, config)
    log.info("Upload images at %s, stop with Ctrl+C.", address)
    page.block_thread()


def build_page(config: DictConfig) -> gr.Blocks:
    """The page of a run.

    Raises RunError where the run cannot be used, ConfigurationError where Gradio is not installed.
    """
    gradio = _import_gradio()
    path = Path(config.run) if config.run else find_latest_run(OUTPUTS)
    runtime = choose_runtime(path, config.trainer)
    predictor = load_predictor(
        path,
        runtime,
        max_pixels=config.max_pixels,
        bit_depth=config.bit_depth,
        threshold=config.threshold.value,
    )
    embeddings = None
    if config.neighbours and (path / RunFiles.EMBEDDINGS).is_file():
        embeddings = load_embeddings(path / RunFiles.EMBEDDINGS)
    predict = build_predict(predictor, embeddings, count=config.neighbours)
    page = _lay_out(gradio, predictor, predict, path=path, has_embeddings=embeddings is not None)
    page.queue(max_size=_MAX_QUEUE, default_concurrency_limit=config.concurrency_limit)
    return page


def launch(page: gr.Blocks, config: DictConfig) -> tuple[Any, str, str]:
    """Start the server in threads: the application, its address, and none for sharing."""
    gradio = _import_gradio()
    bypass_proxies([*LOCAL_HOSTS, config.host])
    try:
        return page.launch(
            server_name=config.host,
            server_port=config.port or None,
            max_file_size=config.max_upload_mb * 2**20,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            pwa=False,
            enable_monitoring=False,
            footer_links=[],
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            css=_CSS,
        )
    except OSError as error:
        raise ConfigurationError(
            f"host={config.host} port={config.port}: the page cannot be served there ({error}). "
            "Choose another port, or port=0 for a free one."
        ) from error
    except Exception as error:  # Gradio's own, of several types
        raise ConfigurationError(
            f"host={config.host} port={config.port}: the page cannot be reached from this machine "
            f"({error}). Where a proxy stands between, add {config.host} to NO_PROXY and no_proxy."
        ) from error


def bypass_proxies(hosts: Iterable[str]) -> None:
    """Reach these hosts directly: Gradio requests its own page to see whether it is up."""
    names = ("NO_PROXY", "no_proxy")
    known = [host.strip() for name in names for host in os.environ.get(name, "").split(",")]
    all_hosts = ",".join(dict.fromkeys(filter(None, [*known, *hosts])))
    os.environ.update(dict.fromkeys(names, all_hosts))


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


def _lay_out(
    gradio: Any,
    predictor: Predictor,
    predict: Callable[[str | None], Displayed],
    *,
    path: Path,
    has_embeddings: bool,
) -> gr.Blocks:
    metadata = predictor.metadata
    title = f"{metadata.model}: is this part good?"
    with gradio.Blocks(
        title=title,
        analytics_enabled=False,
        delete_cache=(_UPLOAD_LIFETIME_S, _UPLOAD_LIFETIME_S),
    ) as page:
        gradio.Markdown(
            f"# {title}\nPredictions of the run `{path.name}`, task {metadata.task}. They are "
            "computed on this machine: nothing is sent elsewhere, and images are deleted after "
            f"{_UPLOAD_LIFETIME_S // 60} minutes."
        )
        with gradio.Row():
            with gradio.Column(scale=2):
                upload = gradio.File(label="Drop an image here", elem_id="upload")
                _reject_urls(gradio, upload)
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
                    visible=has_embeddings,
                    elem_id="similar",
                )
        upload.change(predict, inputs=upload, outputs=[text, overlay, similar], api_name="predict")
    return page


def _reject_urls(gradio: Any, upload: Any) -> None:
    """Let the component take uploaded files only.

    A client of the API may name a URL instead, which Gradio would fetch, however large it is. It
    has no setting against that, so the method that fetches is replaced, on this component alone.
    """
    move_to_cache = upload.async_move_resource_to_block_cache

    async def move_uploaded(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gradio.Error("URLs are not fetched: upload the image itself.")
        moved: str | None = await move_to_cache(path)
        return moved

    upload.async_move_resource_to_block_cache = move_uploaded


def _import_gradio() -> Any:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import gradio
    except ImportError as error:
        raise ConfigurationError(
            f"app.py needs Gradio, which cannot be imported ({error}). Install it with "
            "pip install -e '.[app]'."
        ) from error
    return gradio
