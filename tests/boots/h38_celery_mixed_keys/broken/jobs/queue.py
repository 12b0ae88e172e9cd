from celery import Celery

app = Celery("jobs", broker="memory://")
app.conf.update(CELERY_RESULT_BACKEND="rpc://", task_serializer="json")


@app.task
def send(address):
    return address
