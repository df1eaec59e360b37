package io.choria.aaasvc
default allow = false
allow {
  input.nope == 1
}
