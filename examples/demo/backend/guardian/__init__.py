"""The guardian: watches the workers and writes down what security should know."""
