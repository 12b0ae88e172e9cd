from celery import Celery
queue = Celery("jobs", broker="memory://")
@queue.task
def f():
    return 1
