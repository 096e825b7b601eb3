"""People in images: reading, cropping, augmenting, heatmaps, caches and batches."""

import os

# A few kilobytes of PNG can say that they are 3 GB of pixels. OpenCV reads its limit when it is loaded: 16384 × 16384.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 28))
