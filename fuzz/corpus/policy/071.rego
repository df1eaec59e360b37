package io.choria.aaasvc
default allow = false
allow {
  time.parse_rfc3339_ns(input.time) == 1795000000000000000
}
