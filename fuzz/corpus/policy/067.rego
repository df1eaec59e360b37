package io.choria.aaasvc
default allow = false
allow {
  input.ttl == 60
}
