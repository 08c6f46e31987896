"""HTTP for channels, the legacy route, the operations console."""
