"""The vault: secrets that can be checked but not read back, and tokens that prove who signed in."""
