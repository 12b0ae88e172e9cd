"""Learning: what worked, what did not, and which memories proved useful."""
