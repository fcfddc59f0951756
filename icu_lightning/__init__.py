"""From the raw tables of the intensive-care databases to calibrated, honestly evaluated mortality models."""

__version__ = "0.1.0"
