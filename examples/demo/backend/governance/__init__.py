"""The governance layer: who may do what. Every answer is kept."""
