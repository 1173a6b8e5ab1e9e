"""Architectures, losses and pretrained weights in plain torch; `factory.py` builds by name."""
