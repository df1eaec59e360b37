package io.choria.aaasvc
default allow = false
allow {
  requires_identity_filter("trusted")
}
