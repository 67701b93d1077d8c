"""From raw public data sets to training samples."""
