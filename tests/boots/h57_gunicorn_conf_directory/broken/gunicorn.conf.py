bind = "127.0.0.1:18357"
chdir = "service"
