"""What AI agents say to their models and hear from them: recorded, readable, complete."""

__version__ = "0.1.0"
