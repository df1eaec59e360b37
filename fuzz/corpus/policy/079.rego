package io.choria.aaasvc
default allow = false
allow {
  input.time == "0001-01-01T00:00:00Z"
}
