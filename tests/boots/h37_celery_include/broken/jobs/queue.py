from celery import Celery

app = Celery("jobs", broker="memory://", include=["jobs.report"])


@app.task
def send(address):
    return address
