"""Models made from networks with fixed classes: preprocessing as their framework does it, classes, other words."""
