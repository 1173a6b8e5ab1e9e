"""The page of app.py with a stand-in for its model: `python stub_app.py port=0 max_upload_mb=1`."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from capsule_inspection.workflows import app, app_predictions, app_uploads

CONFIG = Path(__file__).parents[1] / "conf" / "app.yaml"
TITLE = "</title><script>hacked()</script><img src=x onerror=hacked()>{{value}}${hacked()}"
OWN, SCORE = 0.5, 0.6


class StubModel:
    """A page's model whose predictions say how many bytes a file has."""

    result = None

    def __init__(self, config: DictConfig, uploads: app_uploads.Uploads) -> None:
        self.uploads = uploads
        self.path = Path(f"/nowhere/`<b>run</b>{TITLE.replace('/', '')}")
        classes, run = ("good", TITLE), {"name": TITLE}
        metadata = SimpleNamespace(model=TITLE, task="classification", classes=classes, run=run)
        self.predictor = SimpleNamespace(metadata=metadata)
        self.examples = [app_predictions.Example(CONFIG, "another", TITLE, "data:,")]
        self.examples_split = "test"

    def slider(self) -> app_predictions.Slider:
        return app_predictions.Slider(OWN, 0.0, 1.0, 2)

    def predict(self, upload: Path, threshold: float | None = None) -> app_predictions.Displayed:
        """The first bytes choose what else happens."""
        content = upload.read_bytes()
        if content.startswith(b"crash"):
            raise RuntimeError(f"{upload} is a secret path")
        if content.startswith(b"stuck"):
            time.sleep(3600)
        row: dict[str, Any] = {
            "status": "ok",
            "error": None,
            "path": upload.name,
            "width": len(content),
            "height": 1,
            "predicted_label": TITLE,
            "is_defect": True,
            "probabilities": {"good": 1 - SCORE, TITLE: SCORE},
            "score": SCORE,
            "threshold": OWN,
            "regions": [],
            "ood_warnings": [],
            "notes": [f"{len(content)} bytes"],
        }
        if content.startswith(b"bad"):
            row |= {"status": "error", "error": "is no image", "score": None, "is_defect": None}
        classes = self.predictor.metadata.classes
        decided = row if threshold is None else app_predictions.decide(row, threshold, classes)
        return app_predictions.Displayed(decided, upload)


def main() -> None:
    """Serve until a signal comes."""
    logging.basicConfig(level=logging.INFO)
    config = OmegaConf.merge(OmegaConf.load(CONFIG), OmegaConf.from_dotlist(sys.argv[1:]))
    assert isinstance(config, DictConfig)
    serve_stub(config)


def serve_stub(config: DictConfig) -> None:
    def load(config: DictConfig, uploads: app_uploads.Uploads) -> Any:
        app.set_gradio_environment(uploads.folder)
        from capsule_inspection.workflows import app_server

        app_server.REQUEST_TIMEOUT_S = 5
        return StubModel(config, uploads)

    app.serve_model(load, config)


if __name__ == "__main__":
    main()
