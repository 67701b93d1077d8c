"""Networks, their configuration, and the folders that hold their weights."""
