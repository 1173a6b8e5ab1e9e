"""`app.py`: a local web page that predicts uploaded images.

The page is Gradio's, the predictions are those of predict.py. Uploads are read by the package's own
reader, which checks format and number of pixels before it decodes anything. Modules that take
seconds to load are imported in functions.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from capsule_inspection.types import ConfigurationError, RunFiles

if TYPE_CHECKING:
    from capsule_inspection.inference.embeddings import TrainingEmbeddings
    from capsule_inspection.workflows.app_predictions import AppModel
    from capsule_inspection.workflows.app_uploads import Uploads

log = logging.getLogger(__name__)


def serve(config: DictConfig) -> None:
    """Serve as `conf/app.yaml` says, until it is stopped.

    Raises RunError where the run cannot be used, ConfigurationError where Gradio is not installed.
    """
    if importlib.util.find_spec("gradio") is None:
        raise ConfigurationError("app.py needs Gradio. Install it with pip install -e '.[app]'.")
    serve_model(load_model, config)


def serve_model(load: Callable[[DictConfig, Uploads], AppModel], config: DictConfig) -> None:
    """Serve the page of a model, which is loaded with the place of its uploads."""
    from capsule_inspection.workflows.app_uploads import Uploads, private_folder

    with private_folder() as folder:
        uploads = Uploads(folder, config)
        model = load(config, uploads)
        set_gradio_environment(folder)
        from capsule_inspection.workflows.app_page import lay_out
        from capsule_inspection.workflows.app_server import serve_page

        about = f"{model.predictor.metadata.model}, run={model.path}"
        serve_page(lay_out(model, config), uploads, config, about=about)
    if any(not of.daemon for of in threading.enumerate() if of is not threading.main_thread()):
        logging.shutdown()
        os._exit(0)  # else Python waits for the threads of predictions


def set_gradio_environment(folder: Path) -> None:
    """Let Gradio, which is imported afterwards, keep its files in a folder and send nothing."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def load_model(config: DictConfig, uploads: Uploads) -> AppModel:
    """The run or exported model, with what the page says of it."""
    from capsule_inspection.reports.run.test_result import stored_result
    from capsule_inspection.workflows.app_predictions import AppModel, find_examples
    from capsule_inspection.workflows.load_run import choose_runtime, load_predictor

    path, verify = Path(config.run), config.verify == "full"
    predictor = load_predictor(
        path,
        choose_runtime(path, config.trainer),
        max_pixels=config.max_pixels,
        bit_depth=config.bit_depth,
        threshold=config.threshold.value,
        verify=verify,
    )
    examples, split = find_examples(
        path, predictor, max_bytes=config.max_upload_mb * 2**20, verify=verify
    )
    return AppModel(
        predictor,
        uploads,
        path,
        stored_result(predictor.metadata.run, where=str(path)),
        _load_embeddings(path, verify=verify) if config.neighbours else None,
        config.neighbours,
        examples,
        split,
    )


def _load_embeddings(path: Path, *, verify: bool) -> TrainingEmbeddings | None:
    from capsule_inspection.inference.embeddings import load_embeddings
    from capsule_inspection.integrity import check_files
    from capsule_inspection.reports.run.files import read_record

    if not (path / RunFiles.EMBEDDINGS).is_file():
        return None
    if verify:
        check_files(path, read_record(path), (RunFiles.EMBEDDINGS,))
    return load_embeddings(path / RunFiles.EMBEDDINGS)
