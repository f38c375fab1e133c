def price(item): return {"apple": 3}[item]
async def asgi(scope, receive, send):
    if scope["type"] != "http": 
        while True:
            m = await receive(); await send({"type": m["type"] + ".complete"})
            if m["type"].endswith("shutdown"): return
    if scope["path"] == "/plum": price("plum")
    await send({"type": "http.response.start", "status": 200 if scope["path"] == "/" else 404, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
def wsgi(environ, start):
    if environ["PATH_INFO"] == "/plum": price("plum")
    start("200 OK", [("Content-Type", "text/plain")]); return [b"ok"]
