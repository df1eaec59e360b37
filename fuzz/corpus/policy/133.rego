package io.choria.aaasvc
default allow = false
allow {
  requires_identity_filter(input.data.component)
}
