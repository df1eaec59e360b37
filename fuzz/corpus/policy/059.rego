package io.choria.aaasvc
default allow = false
allow {
  count(input.claims.public_key) == 64
}
