"""Visual inspection with few images, on PyTorch Lightning and Hydra."""
