"""The commands of `capture`, one file each."""
