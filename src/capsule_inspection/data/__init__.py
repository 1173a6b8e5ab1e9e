"""From photographs on disk to batches on the device."""
