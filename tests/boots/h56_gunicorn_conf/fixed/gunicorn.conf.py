bind = "127.0.0.1:18356"
worker_class = "gthread"
