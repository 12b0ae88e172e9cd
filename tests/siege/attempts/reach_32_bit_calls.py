"""System calls by the 32-bit door, whose numbers are others."""
import mmap
from siege import *
if platform.machine() != "x86_64":
    not_possible("not on this processor")
child = os.fork()
if child == 0:
    # mov eax, 20 (getpid); int 0x80; ret
    code = b"\xb8\x14\x00\x00\x00\xcd\x80\xc3"
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    os._exit(0 if call() == os.getpid() else 1)
_, status = os.waitpid(child, 0)
leaked("the call went through") if status == 0 else held(f"ended with {status}")
