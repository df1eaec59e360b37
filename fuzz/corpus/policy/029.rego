package io.choria.aaasvc
default allow = false
allow {
  input.data.count == 5.0
}
