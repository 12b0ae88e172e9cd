"""The API layer: one router for each service, under `/api/NAME`."""
