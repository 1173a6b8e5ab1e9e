"""One finished run: its files, plots and page."""
