package io.choria.aaasvc
default allow = false
allow {
  crypto.sha256("a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
}
