"""People in images: reading, cropping, augmenting, heatmaps, caches and batches."""
