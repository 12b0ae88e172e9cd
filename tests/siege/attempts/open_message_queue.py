"""A POSIX message queue of the host."""
from siege import *
librt = ctypes.CDLL("librt.so.1", use_errno=True)
checked(librt.mq_open(victim("queue").encode(), os.O_RDONLY), "mq_open")
leaked("opened the queue")
