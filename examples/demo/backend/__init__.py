"""A small operations backend in six layers, from the database up to the APIs."""
