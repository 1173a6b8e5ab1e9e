"""Predictors from run folders and exported files, with the backends that compute them."""
