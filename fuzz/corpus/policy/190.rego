package io.choria.aaasvc
default allow = false
allow {
  time.now_ns() > 1795000000000000000
}
