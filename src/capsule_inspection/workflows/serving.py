"""`app.py`: a local page on which a photograph is dropped, and answered.

The page is Gradio's; what is answered is the predictor's, as in predict.py. Uploads are read by our
own reader, which refuses what is no photograph or has too many pixels, before anything is decoded.
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

from capsule_inspection.inference.answers import Answered
from capsule_inspection.inference.neighbours import Neighbours, read_neighbours
from capsule_inspection.inference.predictor import ALL, Predictor
from capsule_inspection.reports.answer_pictures import answer_picture
from capsule_inspection.reports.answer_words import described, verdict
from capsule_inspection.reports.run_folder import read_record
from capsule_inspection.types import ConfigurationError, RunError, RunFiles
from capsule_inspection.workflows.opening import choose, open_predictor
from capsule_inspection.workflows.record import FINISHED

if TYPE_CHECKING:
    import gradio as gr

log = logging.getLogger(__name__)
LOCAL = ("127.0.0.1", "localhost", "::1")
OUTPUTS = Path("outputs")
_MOST_WAITING = 64
_KEPT_S = 600
"""How long an upload stays on the disk."""
_SHOWN_PX = 1024
"""Width from which on a picture fills its place."""
_STYLE = """
.gradio-container { max-width: 72rem !important; margin: auto; }
.verdict { font-size: 1.4rem; font-weight: 700; margin: 0 0 .5rem; overflow-wrap: anywhere; }
.verdict.bad { color: #b3261e; } .verdict.good { color: #1b5e20; } .verdict.none { color: #8a5a00; }
.facts td { padding: .2rem .6rem !important; vertical-align: top; overflow-wrap: anywhere; }
.facts td:first-child { white-space: nowrap; }
.remark { color: #8a5a00; font-weight: 600; }
"""
Shown = tuple[str, "np.ndarray | None", "list[tuple[np.ndarray, str]]"]
"""What the page shows: words as HTML, the overlay, and training images with their captions."""


def serve(config: DictConfig) -> None:
    """Serve as `conf/app.yaml` says, until it is stopped."""
    page = build_page(config)
    if config.host not in LOCAL:
        log.warning(
            "host=%s: everybody who can reach this machine can use the page, without a password.",
            config.host,
        )
    logging.getLogger("httpx").setLevel(logging.WARNING)  # Gradio calls itself to see if it is up
    _, address, _ = launch(page, config)
    log.info("Drop photographs at %s, stop with Ctrl+C.", address)
    page.block_thread()


def build_page(config: DictConfig) -> gr.Blocks:
    """The page for a run. Raises RunError where the run cannot be used.

    Raises ConfigurationError where Gradio is not installed.
    """
    gradio = _gradio()
    path = Path(config.run) if config.run else latest_run(OUTPUTS)
    choices = choose(path, config.trainer)
    predictor = open_predictor(path, choices, explain=ALL, max_pixels=config.max_pixels)
    neighbours = None
    if (path / RunFiles.NEIGHBOURS).is_file() and config.neighbours:
        neighbours = read_neighbours(path / RunFiles.NEIGHBOURS)
    inspect = answering(predictor, neighbours, count=config.neighbours)
    page = _lay_out(gradio, predictor, inspect, path=path, has_neighbours=neighbours is not None)
    page.queue(max_size=_MOST_WAITING, default_concurrency_limit=config.visitors)
    return page


def launch(page: gr.Blocks, config: DictConfig) -> tuple[Any, str, str]:
    """Start the server, in threads: the application, its address, and none for sharing."""
    gradio = _gradio()
    pass_proxies_by([*LOCAL, config.host])
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
            css=_STYLE,
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


def pass_proxies_by(hosts: Iterable[str]) -> None:
    """Reach these hosts directly: Gradio asks its own page whether it is up."""
    names = ("NO_PROXY", "no_proxy")
    known = [host.strip() for name in names for host in os.environ.get(name, "").split(",")]
    wanted = ",".join(dict.fromkeys(filter(None, [*known, *hosts])))
    os.environ.update(dict.fromkeys(names, wanted))


def latest_run(outputs: Path) -> Path:
    """The run below a folder that was finished last. Raises RunError where there is none."""
    found: dict[str, Path] = {}
    for path in outputs.rglob(RunFiles.RECORD):
        if not (path.parent / RunFiles.BEST).is_file():
            continue
        try:
            record = read_record(path.parent)
        except RunError as error:
            log.warning("%s It is passed over.", error)
            continue
        if record.get("status") == FINISHED:
            found[str(record.get("finished"))] = path.parent
    if not found:
        raise RunError(
            f"run=null: there is no finished run in {outputs}/. Train one with make train, or name "
            "a run folder: python app.py run=..."
        )
    return found[max(found)]


def answering(
    predictor: Predictor, neighbours: Neighbours | None, *, count: int
) -> Callable[[str | None], Shown]:
    """A function from the path of an upload to what is shown of it."""
    one_at_a_time = threading.Lock()  # gradients for explanations are not made for many at once

    def inspect(upload: str | None) -> Shown:
        if upload is None:
            return "", None, []
        read = predictor.read(Path(upload))
        with one_at_a_time:
            (answered,) = predictor.answer([read])
            similar = []
            if neighbours is not None and read.prepared is not None:
                vectors = predictor.engine.embed(read.prepared.image[None])
                similar = [] if vectors is None else neighbours.nearest(vectors[0], count)
        pictures = [(of.picture, f"{of.class_name}, {of.likeness:.0%} alike") for of in similar]
        return _words(answered, predictor), _picture(answered), pictures

    return inspect


def _words(answered: Answered, predictor: Predictor) -> str:
    row = {**answered.answer.as_row(), "path": Path(answered.answer.path).name}
    return verdict(row) + described(row, task=predictor.description.task)


def _picture(answered: Answered) -> np.ndarray | None:
    import cv2

    seen = answered.seen
    if seen is None:
        return None
    drawn = answer_picture(seen.image, heat=seen.heat, mask=seen.mask)
    times = max(1, -(-_SHOWN_PX // drawn.shape[1]))
    return cv2.resize(drawn, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)


def _lay_out(
    gradio: Any,
    predictor: Predictor,
    inspect: Callable[[str | None], Shown],
    *,
    path: Path,
    has_neighbours: bool,
) -> gr.Blocks:
    description = predictor.description
    title = f"{description.model}: is this part good?"
    with gradio.Blocks(
        title=title, analytics_enabled=False, delete_cache=(_KEPT_S, _KEPT_S)
    ) as page:
        gradio.Markdown(f"# {title}\nAnswers are those of the run `{path.name}`, "
                        f"{description.task}, made on this machine. Nothing is sent elsewhere, and "
                        "photographs are deleted after some minutes.")  # fmt: skip
        with gradio.Row():
            with gradio.Column(scale=2):
                upload = gradio.File(label="Drop a photograph here", elem_id="upload")
                _refuse_addresses(gradio, upload)
                words = gradio.HTML(elem_id="answer")
            with gradio.Column(scale=3):
                picture = gradio.Image(
                    label="What the model saw",
                    interactive=False,
                    buttons=["fullscreen", "download"],
                    elem_id="picture",
                )
                similar = gradio.Gallery(
                    label="Training images that look most alike to the model",
                    columns=4,
                    height="auto",
                    buttons=["fullscreen"],
                    visible=has_neighbours,
                    elem_id="similar",
                )
        upload.change(
            inspect,
            inputs=upload,
            outputs=[words, picture, similar],
            api_name="inspect",
        )
    return page


def _refuse_addresses(gradio: Any, upload: Any) -> None:
    """What a program names as http://... Gradio would fetch, however large it is."""
    take = upload.async_move_resource_to_block_cache

    async def take_uploaded(path: str | Path | None) -> str | None:
        if "://" in str(path):
            raise gradio.Error("Addresses are not fetched: upload the photograph itself.")
        taken: str | None = await take(path)
        return taken

    upload.async_move_resource_to_block_cache = take_uploaded


def _gradio() -> Any:
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
