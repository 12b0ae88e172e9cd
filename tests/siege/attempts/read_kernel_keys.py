"""The kernel's keyrings of this user and session."""
from siege import *
KEYCTL_GET_KEYRING_ID, USER_SESSION = 0, -5
leaked(f"keyring {syscall('keyctl', KEYCTL_GET_KEYRING_ID, USER_SESSION, 1)}")
