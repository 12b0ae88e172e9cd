"""The ingestion layer: files and texts become documents."""
