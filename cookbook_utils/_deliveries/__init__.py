"""Points as services and processors deliver them: EGMS tables and MintPy time series."""
