# Imports the modules of one layer in their order, then calls its callable.
def _rehearse():
    times = []
    step = ""
    try:
        for module in given["imports"]:
            step = module
            begun = _time.monotonic()
            load(module)
            times.append([module, int((_time.monotonic() - begun) * 1000)])
        call = given["call"]
        if call:
            step = "%s()" % call
            module, _, attribute = call.partition(":")
            value = attribute_of(module, attribute)()
            if hasattr(value, "__await__"):
                import asyncio

                async def _wait():
                    return await value

                asyncio.run(_wait())
    except BaseException as error:
        return {"times": times, "step": step, "raised": describe(error)}
    return {"times": times, "step": ""}


answer(_rehearse())
