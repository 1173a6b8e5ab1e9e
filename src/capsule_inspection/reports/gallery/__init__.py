"""The page of predictions, and a prediction as HTML."""
