"""Counters of the processor, a way to other programs' secrets."""
import struct
from siege import *
SOFTWARE, CPU_CLOCK, SIZE = 1, 0, 112
attributes = ctypes.create_string_buffer(struct.pack("IIQ", SOFTWARE, SIZE, CPU_CLOCK).ljust(SIZE, b"\0"))
syscall("perf_event_open", attributes, 0, -1, -1, 0)
leaked("has a counter")
