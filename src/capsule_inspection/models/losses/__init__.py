"""Losses of the three tasks, as weighted sums of terms; plain torch."""
