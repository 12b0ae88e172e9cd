from celery import Celery

app = Celery("jobs", broker="memory://", include=["jobs.reports"])


@app.task
def send(address):
    return address
