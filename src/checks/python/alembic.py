# Alembic as its console script runs it: its package before a directory of the application that has the same
# name, as `alembic init --package alembic` makes one.
import os
import sys

paths = sys.path[:]
mine = {"", os.getcwd(), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
sys.path[:] = [path for path in paths if path not in mine]
try:
    from alembic.config import main
except ImportError:
    sys.path[:] = paths
    from alembic.config import main
sys.path[:] = paths
main(argv=sys.argv[1:], prog="alembic")
