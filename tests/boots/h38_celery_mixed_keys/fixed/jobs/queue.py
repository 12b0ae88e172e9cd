from celery import Celery

app = Celery("jobs", broker="memory://")
app.conf.update(result_backend="rpc://", task_serializer="json")


@app.task
def send(address):
    return address
