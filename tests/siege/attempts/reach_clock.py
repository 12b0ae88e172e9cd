"""The host's clock: its tick is set to what it is."""
from siege import *
class Timex(ctypes.Structure):
    _fields_ = [("modes", ctypes.c_uint)] + [(f"f{at}", ctypes.c_long) for at in range(25)]
now = Timex(modes=0)
checked(libc.adjtimex(ctypes.byref(now)), "adjtimex")
ADJ_TICK = 0x4000
now.modes = ADJ_TICK
checked(libc.adjtimex(ctypes.byref(now)), "adjtimex")
leaked("set the clock")
