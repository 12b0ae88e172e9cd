"""A small operations backend in six layers: database, logs, governance, mission control, ingestion, APIs."""
