"""The rooms of Switchpoint, each above what it imports; the contract stands in pyproject.toml."""
