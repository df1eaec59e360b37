package io.choria.aaasvc
default allow = false
allow {
  not input.data.absent
  not input.agent == "x"
}
