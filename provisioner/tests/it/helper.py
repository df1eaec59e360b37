#!/usr/bin/env python3
"""A helper for tests: what it answers follows from the first part of the node's name.

With no argument it stays and answers lines (persistent); with `once` it answers one question and ends (process).
"""
import json
import os
import sys
import time


def answer(question):
    name = question["identity"]
    kind = name.split("-")[0]
    log = os.environ.get("HELPER_LOG")
    if log:
        with open(log, "a") as file:
            file.write(json.dumps(question) + "\n")
    if kind == "defer":
        return {"defer": True, "msg": "come again"}
    if kind == "shutdown":
        return {"shutdown": True, "msg": "not wanted"}
    if kind == "both":
        return {"defer": True, "shutdown": True}
    if kind == "wrong":
        return {"configuration": {"a": 1}}
    if kind == "nothing":
        return {}
    if kind == "slow":
        time.sleep(1)
    if kind == "hang":
        time.sleep(600)
    if kind == "die":
        sys.exit(3)
    directory = (question.get("ed25519_pubkey") or {}).get("directory", "/etc/choria")
    result = {
        "msg": "ok",
        "configuration": {
            "identity": name,
            "plugin.choria.server.provision": "false",
            "plugin.choria.middleware_hosts": "nats://127.0.0.1:4222",
            "plugin.security.provider": "choria",
            "plugin.security.choria.token_file": directory + "/server.jwt",
            "plugin.security.choria.seed_file": directory + "/server.seed",
        },
        "server_claims": {"permissions": {"submission": True}},
    }
    if kind == "confirm":
        result["confirm"] = True
    if kind == "upgrade":
        result["upgrade"] = "9.9.9"
    if kind == "same":
        result["upgrade"] = "0.30.2"
    if kind == "key":
        result["key"] = KEY
        result["certificate"] = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
        result["ca"] = result["certificate"]
        result["ssldir"] = "/etc/choria/ssl"
    if kind == "placed":
        del result["configuration"]["plugin.choria.middleware_hosts"]
        result["placement"] = "lon-7"
        result["action_policies"] = {"rpcutil.policy": "policy default deny\n"}
        result["opa_policies"] = {"main.rego": "package choria.aaa.policy\n"}
    if kind == "nowhere":
        result["placement"] = "ams-1"
    if kind == "pki":
        # The request comes back as it was shown here.
        result["certificate"] = question["csr"]["csr"]
        result["ca"] = question["csr"]["public_key"]
    return result


KEY = os.environ.get("HELPER_KEY", "")

if sys.argv[1:] == ["once"]:
    sys.stdout.write(json.dumps(answer(json.load(sys.stdin))))
else:
    for line in sys.stdin:
        question = json.loads(line)
        result = answer(question)
        result["id"] = question["id"]
        sys.stdout.write(json.dumps(result) + "\n")
        sys.stdout.flush()
