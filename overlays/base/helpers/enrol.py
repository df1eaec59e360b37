#!/usr/bin/env python3
"""Helper of the provisioner: one process for each node.

The provisioner writes what it knows of a node as one JSON object to standard input and takes the decision from
standard output; what is written to standard error goes to its log. A helper that fails, says nothing or takes too long
leaves the node for later. `[helper]` of provisioner.toml names the program. `enrol-persistent.py` decides the same in a
process that stays, which is some ten times faster.

    identity        the name that the node goes by
    ed25519_pubkey  its key, already proved: public_key, signature, directory (where its files are)
    inventory       JSON in a text: agents, facts, version, upgradable
    jwt             claims of its provisioning token, already verified; `extensions` is for the helper
    csr             its signing request, where the provisioner asks for one
    overlay         with `details = true` in `[helper]`: whether its name is in use, how it was found, attempts so far

Files beside this one, read at each decision:

    site.conf       where nodes of this cell go (written by `overlay cell init`)
    hosts.txt       if it is there: the nodes that are expected, a name a line; others wait. After a name:
                    reinstall   the machine may take its name although a node of that name is known
                    days=N      its token is good for N days; a fraction will do
"""

import json
import pathlib
import shlex
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent


def site():
    """Reads site.conf: KEY='value' lines, as a shell reads them."""
    words = shlex.split((HERE / "site.conf").read_text(), comments=True)
    return dict(word.split("=", 1) for word in words)


def expected():
    """Reads hosts.txt: names and what stands after them; None when there is no such file and all are welcome."""
    try:
        lines = (HERE / "hosts.txt").read_text().splitlines()
    except FileNotFoundError:
        return None
    words = (line.split("#")[0].split() for line in lines)
    return {name: dict((word.split("=") + [""])[:2] for word in rest) for name, *rest in filter(None, words)}


def decide(question):
    """What shall become of a node: the whole policy of this site."""
    identity = question["identity"]
    directory = question["ed25519_pubkey"]["directory"]
    hosts = expected()
    if hosts is not None and identity not in hosts:
        # The provisioner asks again later, ever more seldom; nothing is lost.
        return {"defer": True, "msg": f"{identity} is not in hosts.txt"}

    remarks = (hosts or {}).get(identity, {})
    claims = {"permissions": {"submission": True}}
    if "days" in remarks:
        # Never longer than the provisioner's own token; sooner than `min_validity` of `[issue]` counts as unset.
        claims["exp"] = int(time.time() + float(remarks["days"]) * 86400)

    here = site()
    authority = pathlib.Path(here["CA_FILE"]).read_text()
    organisation = here["ORGANISATION"]
    return {
        "msg": f"{identity} belongs to {here['BROKERS']}",
        # A name in use is given away only if somebody who knows says so.
        "confirm": "reinstall" in remarks,
        # What the node's token allows.
        "server_claims": claims,
        # These three go together or not at all: the authority stands in for the certificate that a node of this
        # kind has no need of.
        "ssldir": f"{directory}/ssl",
        "certificate": authority,
        "ca": authority,
        # Keys of a Choria server's configuration; overlay-server reads them too. All values are texts.
        "configuration": {
            "identity": identity,
            "collectives": here["COLLECTIVES"],
            # Without this a node of Choria's is unprovisioned again at its next start.
            "plugin.choria.server.provision": "false",
            "plugin.choria.use_srv": "false",
            "plugin.choria.middleware_hosts": here["BROKERS"],
            "plugin.security.provider": "choria",
            "plugin.security.choria.ca": f"{directory}/ssl/ca.pem",
            "plugin.security.choria.token_file": f"{directory}/server.jwt",
            "plugin.security.choria.seed_file": f"{directory}/server.seed",
            "plugin.security.issuer.names": organisation,
            f"plugin.security.issuer.{organisation}.public": here["ISSUER"],
            # Operators may call what their tokens name.
            "rpcauthorization": "1",
            "rpcauthprovider": "aaasvc",
        },
    }


if __name__ == "__main__":
    json.dump(decide(json.load(sys.stdin)), sys.stdout)
