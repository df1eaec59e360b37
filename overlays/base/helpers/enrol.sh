#!/bin/sh
# Helper of the provisioner in plain shell: one process for each node.
#
# The provisioner writes what it knows of a node as one JSON object to standard input and takes the decision from
# standard output; what is written to standard error goes to its log. A helper that fails, says nothing or takes too
# long leaves the node for later. `[helper]` of provisioner.toml names the program.
#
# Everything that a node must know is in `configuration`: keys and values of a Choria server's configuration, which both
# overlay-server and Choria's own server read. `ca`, `certificate` and `ssldir` go together or not at all: the
# authority stands in for the certificate that a node of this kind has no need of.
#
# This takes every node that may ask. To choose, to place or to give more, see enrol.py; a shell is a poor reader of
# JSON: only two members are taken, each where the provisioner writes it.
set -eu

# BROKERS, COLLECTIVES, ORGANISATION, ISSUER, CA_FILE
. "$(dirname "$0")/site.conf"

question=$(cat)
identity=$(printf '%s' "$question" | sed -n 's/^{"identity":"\([^"\\]*\)".*/\1/p')
directory=$(printf '%s' "$question" |
  sed -n 's/.*"ed25519_pubkey":{"public_key":"[^"\\]*","directory":"\([^"\\]*\)".*/\1/p')

if [ -z "$identity" ] || [ -z "$directory" ]; then
  echo "cannot find name and directory of the node" >&2
  exit 1
fi

ca=$(awk '{ printf "%s\\n", $0 }' "$CA_FILE")

cat <<EOF
{
  "msg": "$identity belongs to $BROKERS",
  "server_claims": { "permissions": { "submission": true } },
  "ssldir": "$directory/ssl",
  "certificate": "$ca",
  "ca": "$ca",
  "configuration": {
    "identity": "$identity",
    "collectives": "$COLLECTIVES",
    "plugin.choria.server.provision": "false",
    "plugin.choria.use_srv": "false",
    "plugin.choria.middleware_hosts": "$BROKERS",
    "plugin.security.provider": "choria",
    "plugin.security.choria.ca": "$directory/ssl/ca.pem",
    "plugin.security.choria.token_file": "$directory/server.jwt",
    "plugin.security.choria.seed_file": "$directory/server.seed",
    "plugin.security.issuer.names": "$ORGANISATION",
    "plugin.security.issuer.$ORGANISATION.public": "$ISSUER",
    "rpcauthorization": "1",
    "rpcauthprovider": "aaasvc"
  }
}
EOF
