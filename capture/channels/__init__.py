"""Where records come from and where they go: one file for each way, `base` is the contract."""
