"""A script that keeps the contract without any helper, or breaks it as the variable `fault` says."""

import json
import os
import struct
import sys
import time

text = open(os.environ["PBTNAS_REQUEST"]).read()
request = json.loads(text)
with open(os.path.join(os.environ["REQUESTS"], f"{request['member']['id']}-{request['action']}.json"), "w") as copy:
    copy.write(text)
fault = request["genotype"]["fault"]
action = request["action"]
assert action == os.environ["PBTNAS_ACTION"] and os.environ["PBTNAS_CONTRACT"] == "1"


def save(path, epoch, tensors={"model/net/w": [1.0, 2.0]}):
    header = {"__metadata__": {**request["metadata"], "epoch": str(epoch), "step": "0"}}
    data = b""
    for name, values in tensors.items():
        content = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [len(values)], "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


print("this is", action, flush=True)
if action == "init":
    save(request["output"], 0)
elif action == "train":
    with open(request["progress"], "a") as progress:
        print(json.dumps({"epoch": request["epoch"], "metrics": {"loss": 0.5}}), file=progress)
    if fault == "crash":
        raise ValueError("the loss exploded\x1b[31m")
    if fault == "exit":
        sys.exit(7)
    if fault == "hang":
        time.sleep(600)
    full = os.path.join(os.environ["REQUESTS"], "full")
    if fault == "full" and not os.path.exists(full):
        open(full, "w").close()
        print("no space left on device")
        sys.exit(74)
    if fault == "flood":
        while True:
            print("all work and no play makes Jack a dull boy " * 100)
    if fault == "no-checkpoint":
        sys.exit(0)
    if fault == "early":
        save(request["output"], request["epoch"])
        sys.exit(0)
    if fault == "wrong-name":
        save(request["output"], request["until"], {"net/w": [1.0, 2.0]})
        sys.exit(0)
    if fault == "garbage":
        open(request["output"], "w").write("no checkpoint at all, but long enough to be looked into")
        sys.exit(0)
    save(request["output"], request["until"])
else:
    if fault == "no-result":
        sys.exit(0)
    if fault == "text":
        open(request["result"], "w").write('{"fitness": "very good"}')
        sys.exit(0)
    fitness = float("nan") if fault == "nan" else 1.0
    json.dump({"fitness": fitness, "metrics": {"samples": request["samples"] or 0}}, open(request["result"], "w"))
