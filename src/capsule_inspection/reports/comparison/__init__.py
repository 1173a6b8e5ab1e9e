"""Which model may I trust? Finished runs against each other: figures, tests, words and a page."""
