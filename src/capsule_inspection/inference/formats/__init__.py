"""File formats of exported models, one module each."""
