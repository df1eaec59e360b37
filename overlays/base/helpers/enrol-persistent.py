#!/usr/bin/env python3
"""Helper of the provisioner that stays: one process for many nodes.

For `kind = "persistent"` of `[helper]`. Each line of standard input is a question as enrol.py reads it, with one more
member `id`; each line of standard output is its answer, with that `id`. Answers may come in any order. Standard error goes
to the provisioner's log. The provisioner starts it, and starts it again if it ends or does not answer in time.

The policy is `decide` of enrol.py.
"""

import json
import sys

sys.dont_write_bytecode = True
from enrol import decide  # noqa: E402


def answer(question):
    """The decision; what cannot be decided waits, and does not keep others waiting."""
    try:
        return decide(question)
    except Exception as error:  # whatever it is, the next node's question is another one
        print(f"{question.get('identity')}: {error!r}", file=sys.stderr)
        return {"defer": True, "msg": f"the helper failed: {error}"}


for line in sys.stdin:
    question = json.loads(line)
    print(json.dumps({**answer(question), "id": question["id"]}), flush=True)
