"""The finished runs of tests/integration, which are made once for all tests."""

from integration.conftest import (  # noqa: F401
    autoencoder_home,
    finished,
    finished_home,
    train_once,
    unet_home,
    without_pictures,
)
