from jobs.queue import app


@app.task
def weekly():
    return 1
