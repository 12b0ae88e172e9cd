"""How likely the kernel ends another process."""
from siege import *
with open(f"/proc/{victim('pid')}/oom_score_adj", "w") as file:
    file.write("500")
leaked("changed it")
