"""The page of app.py with a stand-in for its model: `python stub_app.py port=0 max_upload_mb=1`."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from omegaconf import OmegaConf

from capsule_inspection.workflows import app, app_uploads

CONFIG = Path(__file__).parents[1] / "conf" / "app.yaml"
TITLE = "</title><script>hacked()</script><img src=x onerror=hacked()>{{value}}${hacked()}"


def predict(upload: str | None) -> tuple[str, np.ndarray | None, list[tuple[np.ndarray, str]]]:
    """The number of bytes; the first ones choose what else happens."""
    if upload is None:
        return "", None, []
    content = Path(upload).read_bytes()
    if content.startswith(b"crash"):
        raise RuntimeError(f"{upload} is a secret path")
    if content.startswith(b"slow"):
        time.sleep(1)
    return f"<p class='headline good'>{len(content)} bytes</p>", None, []


def main() -> None:
    """Serve until a signal comes."""
    logging.basicConfig(level=logging.INFO)
    config = OmegaConf.merge(OmegaConf.load(CONFIG), OmegaConf.from_dotlist(sys.argv[1:]))
    with app_uploads.private_folder() as folder:
        app.set_gradio_environment(folder)
        from capsule_inspection.workflows import app_server

        app_server.REQUEST_TIMEOUT_S = 5
        uploads = app_uploads.Uploads(folder, config)
        about = SimpleNamespace(model=TITLE, task="classification")
        page = app.lay_out(predict, uploads, metadata=about, name="`<b>run</b>", has_similar=True)
        app_server.serve_page(page, uploads, config, css=app.CSS)


if __name__ == "__main__":
    main()
