"""A BPF map in the kernel."""
import struct
from siege import *
BPF_MAP_CREATE, ARRAY = 0, 2
attributes = ctypes.create_string_buffer(struct.pack("IIIII", ARRAY, 4, 4, 1, 0).ljust(128, b"\0"))
syscall("bpf", BPF_MAP_CREATE, attributes, 128)
leaked("made a map")
