"""Run folders and exported files made into predictors."""
