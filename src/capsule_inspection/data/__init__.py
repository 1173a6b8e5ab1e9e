"""From image files to batches: samples, splits, preprocessing, cache, augmentation."""
