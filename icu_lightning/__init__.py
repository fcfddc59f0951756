"""From the raw tables of the intensive-care databases to calibrated, honestly evaluated mortality models."""

import os

__version__ = "0.1.0"

# Polars' allocator gives back what was freed after ten seconds, if not told otherwise before polars is imported; reading millions
# of rows takes less, and its peak would be 0.1 GB of freed pages higher. At half a second it takes no more processor time.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")
